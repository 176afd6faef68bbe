// The messages that wait until the answer is complete. Data down: `show({ items, held })`; `held`: they wait for the person.
// Events up: "dee-queue-edit" {id, text}, "dee-queue-remove" {id}, "dee-queue-send", "dee-queue-editing" {editing}.

import { DeeElement, html, icon, iconButton, nothing, place, render } from "../core/dom.js";
import { t } from "../core/words.js";

export class DeeQueue extends DeeElement {
  #editing = false;
  #state = { items: [], held: false };
  #rows = new Map(); // id → li

  show(state) {
    this.#state = state;
    this.#draw();
  }

  #draw() {
    const { items, held } = this.#state;
    this.hidden = items.length === 0 && !this.#editing;
    if (this.#editing) return; // an edit in progress is not pulled away
    const hadFocus = this.contains(document.activeElement);
    const send = html`<button type="button" class="link-button" @click=${() => this.tell("dee-queue-send")}>${t("sendNow")}</button>`;
    this.draw(html`
      <p class="queue-head">${icon("clock")}<span>${t(held ? "queueHeld" : "queueWaits")}</span>${held ? send : nothing}</p>
      <ul aria-label=${t("queueLabel")}></ul>
    `);
    this.#rows = new Map(items.map(({ id }) => [id, this.#rows.get(id) ?? document.createElement("li")]));
    for (const item of items) this.#drawRow(item);
    place(/** @type {HTMLElement} */ (this.querySelector("ul")), [...this.#rows.values()]);
    if (hadFocus && !this.contains(document.activeElement)) this.querySelector("button")?.focus();
  }

  #drawRow({ id, text }) {
    const row = this.#rows.get(id);
    row.className = "chip-row";
    const edit = iconButton("pencil", t("queueEdit"), () => this.#edit(row, { id, text }));
    const remove = iconButton("close", t("queueRemove"), () => this.tell("dee-queue-remove", { id }));
    render(html`<span class="queue-text" title=${text} dir="auto">${text}</span>${edit}${remove}`, row);
  }

  // Enter and leaving the field keep the new words, Escape the old ones.
  #edit(row, { id, text }) {
    const finish = (keep) => {
      if (!this.#editing) return;
      this.#editing = false;
      const words = field.value.trim();
      if (keep && words && words !== text) this.tell("dee-queue-edit", { id, text: words });
      this.#draw();
      this.tell("dee-queue-editing", { editing: false });
    };
    const key = (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
        event.preventDefault();
        event.stopPropagation();
        finish(event.key === "Enter");
      }
    };
    this.#editing = true;
    this.tell("dee-queue-editing", { editing: true });
    render(
      html`<textarea class="queue-field" dir="auto" rows="1" aria-label=${t("queueEdit")} .value=${text}
        @blur=${() => finish(true)} @keydown=${key}></textarea>`,
      row,
    );
    const field = row.querySelector("textarea");
    field.focus();
    field.setSelectionRange(text.length, text.length);
  }
}

customElements.define("dee-queue", DeeQueue);
