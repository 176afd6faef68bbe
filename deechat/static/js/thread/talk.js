// What a person says in the open conversation: where it goes, and what becomes of the words when they do not get there.

import { isCommand } from "./inputs.js";
import { writeDraft } from "../core/memory.js";
import { Outbox } from "./outbox.js";
import { t } from "../core/words.js";

export class Talk {
  #shell;
  #conversation;
  #outbox;
  #focus;
  #left = false;

  // `focus()` leads to the composer where that is no trouble; `changed()` is called when the queue is another one.
  constructor(shell, conversation, { focus, changed }) {
    this.#shell = shell;
    this.#conversation = conversation;
    this.#focus = focus;
    this.#outbox = new Outbox(conversation);
    this.#outbox.addEventListener("change", changed);
    this.#outbox.addEventListener("refused", ({ detail }) => this.#fail(detail.error));
  }

  get queue() {
    return { items: this.#outbox.items, held: this.#outbox.held };
  }

  // Another conversation has the composer now.
  close() {
    this.#left = true;
    this.#outbox.close();
  }

  // A prompt from the composer.
  async send(text) {
    if (this.#conversation.running) return;
    this.#clear();
    if (!(await this.#attempt(() => this.#conversation.send(text)))) this.#giveBack(text);
    else this.#settle();
  }

  retry(item) {
    return this.#attempt(() => this.#conversation.tryAgain(item));
  }

  goOn(item) {
    return this.#attempt(() => this.#conversation.continueFrom(item));
  }

  // To the run that is going. When that has ended meanwhile, the words become the next message.
  async steer(text) {
    this.#clear();
    this.#shell.messages.toBottom();
    try {
      const read = await this.#conversation.inputs.steer(text);
      if (!read && !isCommand(text)) this.#enqueue(text);
    } catch (error) {
      this.#fail(error);
      this.#giveBack(text);
    }
  }

  // For when the answer is complete. What stops a run is never for later.
  queueUp(text) {
    if (isCommand(text)) return this.steer(text);
    this.#clear();
    this.#enqueue(text);
    return null;
  }

  edit({ id, text }) {
    this.#outbox.queue.edit(id, text);
  }

  remove({ id }) {
    this.#outbox.queue.remove(id);
  }

  editing({ editing }) {
    this.#outbox.editing = editing;
    if (!editing && !this.#conversation.running) this.#outbox.look();
  }

  release() {
    this.#shell.composer.error = null;
    return this.#outbox.release();
  }

  #enqueue(text) {
    this.#outbox.queue.add(text.trim());
    if (!this.#conversation.running) this.#outbox.look();
  }

  #clear() {
    this.#shell.composer.text = "";
    this.#shell.composer.error = null;
    writeDraft(this.#conversation.workspace, this.#conversation.thread, "");
    this.#focus();
  }

  // What was typed meanwhile is the draft.
  #settle() {
    if (!this.#left) writeDraft(this.#conversation.workspace, this.#conversation.thread, this.#shell.composer.text);
  }

  #giveBack(text) {
    const { composer } = this.#shell;
    const draft = [text, this.#left ? "" : composer.text].filter(Boolean).join("\n");
    writeDraft(this.#conversation.workspace, this.#conversation.thread, draft);
    if (!this.#left) composer.text = draft;
  }

  // Runs something that begins an answer. Gives whether the server took it; says above the composer when not.
  async #attempt(begin) {
    this.#shell.composer.error = null;
    this.#shell.messages.toBottom();
    try {
      await begin();
      return true;
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  #fail(error) {
    const words = error.code === "run_active" ? t("runActive") : `${t("sendFailed")} ${error.message}`;
    if (!this.#left) this.#shell.composer.error = words;
  }
}
