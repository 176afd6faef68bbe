// The messages that wait until the answer is complete. Data down: `show({ items, held })`; `held`: they wait for the person.
// Events up: "dee-queue-edit" {id, text}, "dee-queue-remove" {id}, "dee-queue-send", "dee-queue-editing" {editing}.

import { DeeElement, h, icon, iconButton } from "../core/dom.js";
import { t } from "../core/words.js";

class DeeQueue extends DeeElement {
  #drawn = "";
  #editing = null; // { id, text }
  #state = { items: [], held: false };

  show(state) {
    this.#state = state;
    this.#draw();
  }

  #draw() {
    const { items, held } = this.#state;
    this.hidden = items.length === 0 && !this.#editing;
    const drawn = JSON.stringify([items, held]);
    if (drawn === this.#drawn || this.#editing) return; // an edit in progress is not pulled away
    this.#drawn = drawn;
    const focused = this.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const send = h("button", { type: "button", class: "link-button", text: t("sendNow"), "data-focus": "send" });
    send.addEventListener("click", () => this.tell("dee-queue-send"));
    const words = h("span", { text: t(held ? "queueHeld" : "queueWaits") });
    const head = h("p", { class: "queue-head" }, icon("clock"), words, held && send);
    const list = h("ul", { "aria-label": t("queueLabel") }, ...items.map((item) => this.#row(item)));
    this.replaceChildren(head, list);
    if (focused) (this.querySelector(`[data-focus="${CSS.escape(focused)}"]`) ?? this.querySelector("button"))?.focus();
  }

  #row({ id, text }) {
    const edit = iconButton("pencil", t("queueEdit"), () => this.#edit(row, { id, text }), { "data-focus": `edit ${id}` });
    const takeOut = () => this.tell("dee-queue-remove", { id });
    const remove = iconButton("close", t("queueRemove"), takeOut, { "data-focus": `remove ${id}` });
    const row = h("li", { class: "chip-row" }, h("span", { class: "queue-text", text, title: text, dir: "auto" }), edit, remove);
    return row;
  }

  // Enter and leaving the field keep the new words, Escape the old ones.
  #edit(row, { id, text }) {
    const field = h("textarea", { class: "queue-field", dir: "auto", value: text, rows: 1, "aria-label": t("queueEdit") });
    this.#editing = { id, text };
    this.tell("dee-queue-editing", { editing: true });
    row.replaceChildren(field);
    field.focus();
    field.setSelectionRange(text.length, text.length);
    const finish = (keep) => {
      if (!this.#editing) return;
      this.#editing = null;
      this.#drawn = "";
      const words = field.value.trim();
      if (keep && words && words !== text) this.tell("dee-queue-edit", { id, text: words });
      this.#draw();
      this.tell("dee-queue-editing", { editing: false });
    };
    field.addEventListener("blur", () => finish(true));
    field.addEventListener("keydown", (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
        event.preventDefault();
        event.stopPropagation();
        finish(event.key === "Enter");
      }
    });
  }
}

customElements.define("dee-queue", DeeQueue);
