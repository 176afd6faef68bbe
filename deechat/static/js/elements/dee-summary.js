// What stands for the oldest turns from this answer on, folded: the model wrote it. Data down: `show(part)`.

import { h, icon } from "../core/dom.js";
import { t } from "../core/words.js";

export class DeeSummary extends HTMLElement {
  #text = h("div", { class: "thoughts", dir: "auto" });

  connectedCallback() {
    if (this.firstChild) return;
    const label = h("span", { class: "fold-label", text: t("summarized") });
    this.append(h("details", { class: "fold" }, h("summary", {}, label, icon("chevron")), this.#text));
  }

  show({ text }) {
    this.#text.textContent = text;
  }
}

customElements.define("dee-summary", DeeSummary);
