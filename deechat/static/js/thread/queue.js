// The messages of one thread that wait until its answer is complete. They are kept in this browser, and all its tabs see the
// same list. Knows nothing of when they are sent.
//
// Events: "change".

import { uid } from "../core/dom.js";
import { queueKey, readQueue, writeQueue } from "../core/memory.js";

export class Queue extends EventTarget {
  items = []; // { id, text }
  #workspace;
  #thread;
  #leaving = new AbortController();

  constructor(workspace, thread) {
    super();
    this.#workspace = workspace;
    this.#thread = thread;
    if (thread) this.items = readQueue(workspace, thread);
    addEventListener("storage", (event) => this.#heard(event), { signal: this.#leaving.signal });
  }

  get name() {
    return queueKey(this.#workspace, this.#thread);
  }

  close() {
    this.#leaving.abort();
  }

  // A new chat has got its thread.
  belongTo(thread) {
    this.#thread = thread;
    this.#keep();
  }

  add(text) {
    this.#set([...this.#latest(), { id: uid(), text }]);
  }

  // A changed message is another one: under the old id the server may know the old words. One that was sent meanwhile is
  // added anew.
  edit(id, text) {
    const changed = { id: uid(), text };
    const items = this.#latest();
    const known = items.some((item) => item.id === id);
    this.#set(known ? items.map((item) => (item.id === id ? changed : item)) : [...items, changed]);
  }

  remove(id) {
    this.#set(this.#latest().filter((item) => item.id !== id));
  }

  // The first message, as all tabs see it.
  first() {
    return this.#latest()[0] ?? null;
  }

  // Where nothing can be kept, what this tab knows is the latest.
  #latest() {
    const kept = this.#thread ? readQueue(this.#workspace, this.#thread) : [];
    return kept.length || this.#keeps ? kept : this.items;
  }

  #keeps = false;

  #set(items) {
    this.items = items;
    this.#keep();
    this.dispatchEvent(new Event("change"));
  }

  #keep() {
    if (!this.#thread) return;
    writeQueue(this.#workspace, this.#thread, this.items);
    this.#keeps = readQueue(this.#workspace, this.#thread).length === this.items.length;
  }

  #heard({ key }) {
    if (!this.#thread || (key !== this.name && key !== null)) return;
    this.#keeps = true;
    this.items = readQueue(this.#workspace, this.#thread);
    this.dispatchEvent(new Event("change"));
  }
}
