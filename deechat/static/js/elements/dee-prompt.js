// What a person said, and where it was said more than once, which time this is. Data down: `item`, then `refresh()`. Events
// up: "dee-turn" {item, step}.

import { DeeElement, h, iconButton } from "../core/dom.js";
import { t } from "../core/words.js";

class DeePrompt extends DeeElement {
  #item = null;
  #drawn = "";
  #bubble = h("div", { class: "bubble", dir: "auto" });
  #turns = h("div", { class: "turns", role: "group", "aria-label": t("branches"), hidden: true });

  connected() {
    if (this.firstChild) return;
    this.append(h("h3", { class: "visually-hidden", text: t("you") }), this.#bubble, this.#turns);
  }

  set item(item) {
    this.#item = item;
    this.#bubble.textContent = item.text;
    this.refresh();
  }

  refresh() {
    const { turns = null } = this.#item;
    const drawn = JSON.stringify(turns);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.#turns.hidden = turns === null;
    if (turns === null) return;
    const hadFocus = this.#turns.contains(document.activeElement);
    const { at, of } = turns;
    const step = (name, label, by, last) => {
      const button = iconButton(name, t(label), () => this.tell("dee-turn", { item: this.#item, step: by }));
      button.disabled = at === last;
      return button;
    };
    const where = h("span", { text: `${at}/${of}`, "aria-label": t("branchOf", { at, of }) });
    this.#turns.replaceChildren(step("previous", "branchBefore", -1, 1), where, step("next", "branchAfter", 1, of));
    if (hadFocus) this.#turns.querySelector("button:enabled")?.focus();
  }
}

customElements.define("dee-prompt", DeePrompt);
