// What a person said, and where it was said more than once, which time this is. Data down: `item`, then `refresh()`. Events
// up: "dee-turn" {item, step}.

import { DeeElement, html, iconButton, nothing } from "../core/dom.js";
import { t } from "../core/words.js";

export class DeePrompt extends DeeElement {
  /** @type {import("../thread/record.js").Item | null} */
  #item = null;

  set item(item) {
    this.#item = item;
    this.refresh();
  }

  refresh() {
    const { text, turns } = /** @type {import("../thread/record.js").Item} */ (this.#item);
    this.draw(html`
      <h3 class="visually-hidden">${t("you")}</h3>
      <div class="bubble" dir="auto">${text}</div>
      <div class="turns" role="group" aria-label=${t("branches")} ?hidden=${!turns}>${turns ? this.#steps(turns) : nothing}</div>
    `);
    const focused = document.activeElement;
    if (!this.contains(focused) || !focused?.matches(":disabled")) return;
    /** @type {HTMLElement | null} */ (this.querySelector("button:enabled"))?.focus();
  }

  #steps({ at, of }) {
    const step = (name, label, by, last) =>
      iconButton(name, t(label), () => this.tell("dee-turn", { item: this.#item, step: by }), { disabled: at === last });
    return html`${step("previous", "branchBefore", -1, 1)}<span aria-label=${t("branchOf", { at, of })}>${at}/${of}</span
      >${step("next", "branchAfter", 1, of)}`;
  }
}

customElements.define("dee-prompt", DeePrompt);
