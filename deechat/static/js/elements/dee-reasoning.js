// The model's thinking, folded. Data down: `show(part, { live, heard })`; `heard` says that the page was there from the
// first word, so that the time it took can be told.

import { h, icon } from "../core/dom.js";
import { t } from "../core/words.js";

export class DeeReasoning extends HTMLElement {
  #label = h("span", { class: "fold-label" });
  #text = document.createTextNode("");
  /** @type {number | null} */
  #began = null;
  /** @type {number | null} */
  #seconds = null;

  connectedCallback() {
    if (this.firstChild) return;
    const summary = h("summary", {}, icon("spark"), this.#label, icon("chevron"));
    this.append(h("details", { class: "fold" }, summary, h("div", { class: "thoughts", dir: "auto" }, this.#text)));
  }

  show(part, { live, heard }) {
    if (part.text.startsWith(this.#text.data)) this.#text.appendData(part.text.slice(this.#text.length));
    else this.#text.data = part.text;
    const thinking = part.open && live;
    if (thinking && heard) this.#began ??= performance.now();
    if (!part.open && this.#began !== null) this.#seconds ??= Math.round((performance.now() - this.#began) / 1000);
    this.#label.textContent = thinking
      ? t("thinkingNow")
      : (this.#seconds ?? 0) >= 1
        ? t("thoughtFor", { n: this.#seconds })
        : t("thought");
    this.#label.classList.toggle("shimmer", thinking);
  }
}

customElements.define("dee-reasoning", DeeReasoning);
