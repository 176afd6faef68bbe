// What the cards of requests have in common.

import { html, icon } from "../core/dom.js";
import { t } from "../core/words.js";

export const BUSY = ["sending", "sent", "late"]; // states of a reply in which nothing can be said any more

export const cardHead = (name, words) => html`<p class="request-head">${icon(name)}<strong>${words}</strong></p>`;

// A value as a person reads it: a text as it is, everything else as JSON.
export function readable(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

// Names and values, one below the other; "" where there are none.
export function pairs(entries, kind = "") {
  if (!entries.length) return "";
  const rows = entries.map(([name, value]) => html`<div><dt dir="auto">${name}</dt><dd dir="auto">${value}</dd></div>`);
  return html`<dl class="pairs ${kind}">${rows}</dl>`;
}

export function button(words, kind, onClick) {
  return html`<button type="button" class="button ${kind}" @click=${onClick}>${words}</button>`;
}

// What is said below the buttons while a reply is on its way, or was late.
export function replyWords(state) {
  if (state === "sending") return t("replySending");
  if (state === "sent") return t("replySent");
  return state === "late" ? t("replyLate") : "";
}

// The fieldset of a card, which takes nothing while a reply is on its way. The focus that this takes away comes back.
export class Fields {
  /** @type {HTMLElement | null} */
  #focused = null;

  constructor(node) {
    this.node = node;
  }

  get busy() {
    return this.node.disabled;
  }

  set busy(busy) {
    if (busy && !this.busy) this.#focused = this.#inside ? /** @type {HTMLElement} */ (document.activeElement) : null;
    this.node.disabled = busy;
    if (busy) return;
    if (document.activeElement === document.body) this.#focused?.focus();
    this.#focused = null;
  }

  get hadFocus() {
    return this.#inside || (this.#focused !== null && document.activeElement === document.body);
  }

  get #inside() {
    return this.node.contains(document.activeElement);
  }
}

// Ctrl + Enter, or Command + Enter: what a card is there for.
export function isDone(event) {
  return event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing;
}
