// One open thread: its messages, the run that is being followed, and what a person may do with them. No DOM nodes.
// `items` is what is shown, oldest first; record.js says what an item is.
//
// Events: "change" (items, `running` or `waiting`), "frame" {item}, "created" {thread}, "renamed" {slug, name}, "started",
// "asked" (the agent began to wait for a person), "ended" {item}, "idle" (the thread was read and no run is active),
// "gone" (the thread was deleted), "trouble" {error} (loading failed).

import { api, continuePath, streamChatPath } from "../core/api.js";
import { uid } from "../core/dom.js";
import { Inputs } from "./inputs.js";
import { liveItem, PAGE, Record } from "./record.js";
import { RunStream } from "../stream/stream.js";
import { fold, isWaiting, newMessage, resultOf } from "./transcript.js";

export class Conversation extends EventTarget {
  /** @type {import("./record.js").Item[]} */
  items = [];
  /** @type {{ stream: RunStream, item: import("./record.js").Item, stopping: boolean, sending?: boolean } | null} */
  running = null; // { stream, item, stopping, sending } while an answer is being made
  waiting = false; // for the person
  inputs = new Inputs(this, (item) => this.#emit("frame", { item }));
  #record = new Record();
  /** @type {Map<object, RunStream>} */
  #readings = new Map(); // the logs in which results are looked for, by the part of each
  /** @type {{ text: string, parentId?: string, id: string } | null} */
  #lost = null; // a prompt whose POST had no answer: { text, parentId, id }; sent again under the same id it joins its run
  #closed = false;
  #turn = 0; // grows when something begins that makes a history on its way out of date

  /**
   * @param {string} workspace its slug
   * @param {string | null} thread its slug; null for one that begins with its first message
   */
  constructor(workspace, thread) {
    super();
    this.workspace = workspace;
    this.thread = thread;
  }

  get hasOlder() {
    return this.#record.hasOlder;
  }

  // Whether the last answer came to its own end.
  get completed() {
    const last = this.items.at(-1);
    return last?.role === "assistant" && !last.fault && last.message.ending?.reason === "completed";
  }

  // Nobody looks any more. A prompt that is on its way is still brought to the server.
  close() {
    this.#turn += 1;
    this.#closed = true;
    for (const reading of this.#readings.values()) reading.close();
    if (!this.running?.sending) this.running?.stream.close();
  }

  // Reads the history and joins the run that is active.
  async load() {
    if (!this.thread || this.#closed) return;
    const turn = (this.#turn += 1);
    const page = await this.#ask(() => api.chats(this.workspace, this.thread, { limit: PAGE }));
    if (!page || turn !== this.#turn) return;
    this.#record.take(page);
    if (page.activeRun && this.running?.stream.runId !== page.activeRun) this.#follow(page.activeRun);
    else if (!page.activeRun && this.running) this.#leaveRun();
    this.#show();
    if (!this.running) this.#emit("idle");
  }

  async loadOlder() {
    const turn = this.#turn;
    const page = await this.#ask(() => api.chats(this.workspace, this.thread, { limit: PAGE, before: this.#record.oldest }));
    if (!page || turn !== this.#turn) return;
    this.#record.takeOlder(page);
    this.#show();
  }

  // Looks whether another tab or person has gone on with the thread. Says nothing when the server is away.
  async refresh() {
    if (!this.thread || this.running) return;
    const turn = this.#turn;
    try {
      const { history, activeRun } = await api.chats(this.workspace, this.thread, { limit: 1 });
      if (turn !== this.#turn) return;
      if (activeRun || history.at(-1)?.chatId !== this.#record.last) await this.load();
    } catch (error) {
      if (error.status === 404) this.#emit("gone");
    }
  }

  /**
   * Sends a prompt. Resolves when the server has taken it; rejects with `ApiError`, and then nothing was stored.
   * `parentId` given, null too (the thread's beginning), starts a branch there; left out, the prompt follows the last
   * message of the branch that is looked at. The same `id` twice gives one run.
   * @param {string} text
   * @param {{ parentId?: string | null, id?: string }} place
   */
  async send(text, { parentId = this.#record.follows, id = this.#requestId(text, parentId) } = {}) {
    const shown = parentId === undefined ? this.items : upTo(this.items, parentId);
    const user = { key: uid(), role: "user", id: null, parentId, text };
    /** @type {{ message: string, clientRequestId: string, transport: string, parentId?: string }} */
    const body = { message: text, clientRequestId: id, transport: "sse" }; // whatever the server's default is
    if (parentId !== undefined) body.parentId = parentId ?? ""; // null on the wire would mean "after the last message"
    const began = (last, run) => last?.role === "user" && last.content === text && run;
    await this.#begin([...shown, user], () => streamChatPath(this.workspace, this.thread), body, began);
  }

  // Goes on with an answer that did not come to its end, in an answer of its own.
  async continueFrom({ message: { runId } }) {
    if (this.running || !runId) return;
    await this.#begin(this.items, () => continuePath(runId), {}, (_last, run) => run !== runId && run);
  }

  // Asks the prompt of an answer again, on a branch of its own.
  tryAgain(item) {
    const prompt = this.items.slice(0, this.items.indexOf(item)).findLast(({ role }) => role === "user");
    if (this.running || !prompt) return Promise.resolve();
    return this.send(prompt.text ?? "", { parentId: prompt.parentId });
  }

  // Reads the sources and parts of a result that the message has no room for, whenever its card is opened without them.
  loadResult(part) {
    const item = this.items.find(({ message }) => message?.parts.includes(part));
    if (!item?.message.runId || this.#readings.has(part)) return;
    const stream = new RunStream(item.message.runId);
    for (const over of ["end", "gone", "fault"]) stream.addEventListener(over, () => this.#readings.delete(part));
    stream.addEventListener("frame", (/** @type {any} */ { detail: { frame } }) => {
      if (frame.type !== "toolCallResult" || frame.toolCallId !== part.toolCallId) return;
      stream.close();
      Object.assign(part, resultOf(frame), { rev: part.rev + 1 });
      this.#emit("frame", { item });
    });
    this.#readings.set(part, stream);
    stream.follow();
  }

  turn(item, step) {
    if (this.running) return;
    this.#record.turn(item, step);
    this.#show();
  }

  async stop() {
    if (!this.running || this.running.stopping) return;
    this.running.stopping = true;
    this.#emit("change");
    await this.#stopRun(); // before the server has named the run, `#begin` does it
  }

  // Begins a run and shows it below `before`. `began(last message, active run)` gives the run's id when it is seen there.
  async #begin(before, path, body, began) {
    this.#turn += 1;
    const shown = this.items;
    const item = liveItem({ sent: true });
    const stream = this.#stream(new RunStream(), item);
    this.running = { stream, item, stopping: false, sending: true };
    this.items = [...before, item];
    this.#emit("change");
    const find = async () => {
      const { history, activeRun } = await api.chats(this.workspace, this.thread, { limit: 1 });
      return began(history.at(-1), activeRun) || null;
    };
    try {
      await this.#ensureThread();
      await stream.send(path(), body, find);
    } catch (error) {
      this.#lost = error.status === 0 ? { text: body.message, parentId: body.parentId, id: body.clientRequestId } : null;
      this.running = null;
      this.items = shown;
      stream.dispatchEvent(new Event("unsent"));
      this.#emit("change");
      if (error.status === 409) this.load();
      throw error;
    }
    this.#lost = null;
    this.#record.lookAtLast();
    if (this.#closed) return stream.close();
    if (this.running?.stream === stream) this.running.sending = false;
    this.#emit("started");
    if (this.running?.stopping) this.#stopRun();
  }

  async #stopRun() {
    const { running } = this;
    if (!running?.stream.runId) return;
    try {
      await api.stop(running.stream.runId);
    } catch (error) {
      running.stopping = false;
      this.#emit("change");
      this.#emit("trouble", { error });
    }
  }

  async #ensureThread() {
    if (this.thread) return;
    const thread = await api.newThread(this.workspace);
    this.thread = thread.slug;
    this.#emit("created", { thread });
  }

  #requestId(text, parentId) {
    const lost = this.#lost;
    return lost && lost.text === text && lost.parentId === (parentId === null ? "" : parentId) ? lost.id : uid();
  }

  #follow(runId) {
    this.#leaveRun();
    this.#record.lookAtLast();
    const item = liveItem();
    const stream = this.#stream(new RunStream(runId), item);
    this.running = { stream, item, stopping: false };
    stream.follow();
  }

  #leaveRun() {
    this.running?.stream.close();
    this.running = null;
    this.waiting = false;
  }

  #stream(stream, item) {
    const on = (name, listener) => stream.addEventListener(name, ({ detail }) => listener(detail));
    on("link", ({ state }) => {
      item.link = state;
      item.since ??= performance.now();
      this.#emit("frame", { item });
    });
    on("frame", ({ seq, frame }) => this.#take(item, seq, frame));
    on("reset", () => {
      item.message = newMessage();
      this.#emit("frame", { item });
    });
    on("end", () => this.#ended(item));
    on("gone", () => this.#ended(item)); // its thread is, too: loading it says so
    on("fault", ({ error }) => {
      item.fault = error;
      this.#ended(item);
    });
    return stream;
  }

  #take(item, seq, frame) {
    const { rename } = item.message;
    if (!fold(item.message, seq, frame)) return;
    if (item.id === null && item.message.id) {
      item.id = item.message.id;
      this.#record.know(item);
    }
    if (frame.type === "steered") this.inputs.heard(item, frame.message);
    if (item.message.rename !== rename) this.#emit("renamed", item.message.rename);
    this.#emit("frame", { item });
    this.#noteWaiting();
  }

  #noteWaiting() {
    const waiting = this.running !== null && isWaiting(this.running.item.message);
    if (waiting === this.waiting) return;
    this.waiting = waiting;
    this.#emit("change");
    if (waiting) this.#emit("asked");
  }

  async #ended(item) {
    item.live = false;
    item.steers = [];
    if (this.running?.item === item) this.running = null;
    this.waiting = false;
    this.#emit("ended", { item });
    this.#emit("change");
    await this.load();
  }

  #show() {
    const shown = this.#record.items();
    if (this.running && !shown.includes(this.running.item)) shown.push(this.running.item);
    this.items = shown;
    this.#emit("change");
  }

  async #ask(request) {
    try {
      return await request();
    } catch (error) {
      if (error.status === 404) this.#emit("gone");
      else this.#emit("trouble", { error });
      return null;
    }
  }

  #emit(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

// The items before a new branch: all up to the one that it follows.
function upTo(items, parentId) {
  return items.slice(0, items.findIndex((item) => item.id === parentId) + 1);
}
