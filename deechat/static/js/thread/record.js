// What the server has of one thread, as items for a view. Knows which branch is looked at; no network, no DOM.
// An item's object stays the same for as long as its message is known, so a view keeps its node.

import { joinPages, lastBranch, leafBelow, siblingsOf } from "./branch.js";
import { uid } from "../core/dom.js";
import { fromHistory } from "./history.js";
import { newMessage } from "./transcript.js";

export const PAGE = 60;

/**
 * @typedef {object} Item what a person said, or an answer
 * @property {string} key
 * @property {"user" | "assistant"} role
 * @property {string | null} id the message's
 * @property {string | null} [parentId]
 * @property {string} [text] of what a person said
 * @property {{ at: number, of: number } | null} [turns] which of several branches this is
 * @property {import("./transcript.js").Message} message of an answer
 * @property {boolean} live whether it is being made
 * @property {string} link "opening", "open" or "lost"
 * @property {number | null} since when the link was first open
 * @property {boolean} [sent] whether this tab sent its prompt
 * @property {import("../core/api.js").ApiError} [fault] why it can't be followed
 * @property {{ [request: string]: { rev: number, state: string, error: string | null } }} [replies] what the person said to its
 *   requests, by request
 * @property {{ key: string, text: string }[]} [steers] what was said beside it and is not in its frames yet
 */

/**
 * An answer that is being made.
 * @returns {Item}
 */
export function liveItem(fields = {}) {
  const message = newMessage();
  const at = { link: "opening", since: null };
  return { key: uid(), role: "assistant", id: null, message, live: true, ...at, replies: {}, steers: [], ...fields };
}

export class Record {
  hasOlder = false;
  #history = [];
  #known = new Map(); // chatId → item
  #leaf = null; // the chatId at whose branch a person looks; null: the last message's

  get oldest() {
    return this.#history[0]?.chatId;
  }

  get last() {
    return this.#history.at(-1)?.chatId;
  }

  // The message that a prompt written now has to follow; undefined: the thread's last.
  get follows() {
    return this.#leaf === null || this.#leaf === this.last ? undefined : this.#leaf;
  }

  // Takes the newest page; `more`: there are messages before it.
  take({ history: page, more = false }) {
    const held = new Set(this.#history.map((message) => message.chatId));
    const goesOn = page.some((message) => held.has(message.chatId));
    if (!goesOn) this.hasOlder = more;
    if (page.at(-1)?.chatId !== this.last) this.#leaf = null; // what is new is looked at
    this.#history = goesOn ? joinPages(this.#history, page) : page;
  }

  takeOlder({ history: page, more = false }) {
    this.#history = joinPages(page, this.#history);
    this.hasOlder = more;
  }

  // An item whose frames said which message it is.
  know(item) {
    this.#known.set(item.id, item);
  }

  lookAtLast() {
    this.#leaf = null;
  }

  // Looks at the branch that is `step` further on at this prompt.
  turn({ id }, step) {
    const prompt = this.#history.find((message) => message.chatId === id);
    const row = prompt ? siblingsOf(this.#history, prompt) : [];
    const wanted = row[row.indexOf(prompt) + step];
    if (wanted) this.#leaf = leafBelow(this.#history, wanted.chatId);
  }

  items() {
    return lastBranch(this.#history, this.#leaf).map((stored) => this.#item(stored));
  }

  #item(stored) {
    const known = this.#known.get(stored.chatId);
    const { chatId: id, parentId, role } = stored;
    const item = known ?? { key: id, role, id, live: false, link: "open", since: null };
    Object.assign(item, { parentId });
    this.#known.set(id, item);
    if (role === "user") return Object.assign(item, { text: stored.content, turns: this.#turns(stored) });
    if (!item.message?.ending) item.message = fromHistory(stored); // its ending was never seen
    item.message.metrics ??= stored.metrics ?? null; // only a completed run's ending carries them
    return item;
  }

  #turns(stored) {
    const row = siblingsOf(this.#history, stored);
    return row.length > 1 ? { at: row.indexOf(stored) + 1, of: row.length } : null;
  }
}
