// Sends the queued messages of a conversation one after another: each when the answer before it is complete. After an answer
// that was stopped or failed they wait for the person. Of all tabs only one sends; where the browser has no locks, the
// messages' ids make the server see to it.
//
// Events: "change", "refused" {error}: the first message could not be sent and waits for the person.

import { Queue } from "./queue.js";

export class Outbox extends EventTarget {
  queue;
  editing = false; // a person is changing a queued message: nothing is sent meanwhile
  #conversation;
  #refused = false;
  #sending = false;

  constructor(conversation) {
    super();
    this.#conversation = conversation;
    this.queue = new Queue(conversation.workspace, conversation.thread);
    this.queue.addEventListener("change", () => this.dispatchEvent(new Event("change")));
    conversation.addEventListener("created", ({ detail }) => this.queue.belongTo(detail.thread.slug));
    conversation.addEventListener("idle", () => this.look());
  }

  get items() {
    return this.queue.items;
  }

  // Whether the messages wait for the person.
  get held() {
    const { running, completed } = this.#conversation;
    return !running && !this.#sending && (this.#refused || !completed);
  }

  close() {
    this.queue.close();
  }

  // Sends the first message if it is its turn.
  look() {
    if (this.items.length && !this.held) return this.#send();
    this.dispatchEvent(new Event("change"));
    return null;
  }

  // The person wants them sent although the last answer did not come to its end.
  release() {
    this.#refused = false;
    return this.#send();
  }

  async #send() {
    const wanted = this.queue.first();
    if (!wanted || this.#sending || this.editing || this.#conversation.running) return;
    this.#sending = true;
    const taken = await alone(this.queue.name, async () => {
      // Another tab may have sent it while this one got its turn.
      if (this.queue.first()?.id === wanted.id && !this.#conversation.running) return this.#post(wanted);
      await this.#conversation.refresh();
      return false;
    });
    this.#sending = false;
    if (taken) this.look(); // a short answer may be complete already
    else this.dispatchEvent(new Event("change"));
  }

  async #post({ id, text }) {
    try {
      await this.#conversation.send(text, { id });
      this.#refused = false;
      this.queue.remove(id);
      return true;
    } catch (error) {
      if (error.code === "run_active") return false; // it comes after that one
      this.#refused = true;
      this.dispatchEvent(new CustomEvent("refused", { detail: { error } }));
      return false;
    }
  }
}

// Does it unless another tab is doing it; then what that one does is seen in the thread.
async function alone(name, action) {
  if (!navigator.locks) return action();
  return navigator.locks.request(name, { ifAvailable: true }, (lock) => (lock ? action() : false));
}
