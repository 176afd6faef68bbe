// One open thread: its messages, the run that is being followed, and what a person may do with them. No DOM nodes.
//
// `items` is what is shown, oldest first:
//   { key, role: "user", id, parentId, text }
//   { key, role: "assistant", id, parentId, message, live, link, since, sent, fault }
// An item's object stays the same for as long as its message is shown, so a view keeps its node.
//
// Events: "change" (items or `running`), "frame" {item}, "created" {thread}, "renamed" {slug, name}, "started", "ended"
// {item}, "gone" (the thread was deleted), "trouble" {error} (loading failed).

import { api, streamChatPath } from "./api.js";
import { joinPages, lastBranch } from "./branch.js";
import { uid } from "./dom.js";
import { RunStream } from "./stream.js";
import { fold, fromHistory, newMessage } from "./transcript.js";

const PAGE = 60;

export class Conversation extends EventTarget {
  items = [];
  running = null; // { stream, item, stopping } while an answer is being made
  hasOlder = false;
  #history = [];
  #known = new Map(); // chatId → item
  #lost = null; // a prompt whose POST had no answer: { text, parentId, id }; sent again under the same id it joins its run
  #closed = false;
  #replays = new Set(); // streams of ended runs
  #turn = 0; // grows when something begins that makes a history on its way out of date

  constructor(workspace, thread) {
    super();
    Object.assign(this, { workspace, thread });
  }

  // Nobody looks any more. A prompt that is on its way is still brought to the server.
  close() {
    this.#turn += 1;
    this.#closed = true;
    for (const stream of this.#replays) stream.close();
    if (!this.running?.sending) this.running?.stream.close();
  }

  // Reads the history and joins the run that is active.
  async load() {
    if (!this.thread) return;
    const turn = (this.#turn += 1);
    const page = await this.#ask(() => api.chats(this.workspace, this.thread, { limit: PAGE }));
    if (!page || turn !== this.#turn) return;
    const held = new Set(this.#history.map((message) => message.chatId));
    const goesOn = page.history.some((message) => held.has(message.chatId));
    if (!goesOn) this.hasOlder = page.history.length === PAGE;
    this.#history = goesOn ? joinPages(this.#history, page.history) : page.history;
    if (page.activeRun && this.running?.stream.runId !== page.activeRun) this.#follow(page.activeRun);
    else if (!page.activeRun && this.running) this.#leaveRun();
    this.#show();
  }

  async loadOlder() {
    const before = this.#history[0]?.chatId;
    const turn = this.#turn;
    const page = await this.#ask(() => api.chats(this.workspace, this.thread, { limit: PAGE, before }));
    if (!page || turn !== this.#turn) return;
    this.#history = joinPages(page.history, this.#history);
    this.hasOlder = page.history.length === PAGE;
    this.#show();
  }

  // Looks whether another tab or person has gone on with the thread. Says nothing when the server is away.
  async refresh() {
    if (!this.thread || this.running) return;
    const turn = this.#turn;
    try {
      const { history, activeRun } = await api.chats(this.workspace, this.thread, { limit: 1 });
      if (turn !== this.#turn) return;
      if (activeRun || history.at(-1)?.chatId !== this.#history.at(-1)?.chatId) await this.load();
    } catch (error) {
      if (error.status === 404) this.#emit("gone");
    }
  }

  // Sends a prompt. Resolves when the server has taken it; rejects with `ApiError`, and then nothing was stored.
  // `parentId` given, null too (the thread's beginning), starts a branch there; left out, the prompt follows the thread's
  // last message.
  async send(text, { parentId } = {}) {
    this.#turn += 1;
    const shown = this.items;
    const user = { key: uid(), role: "user", id: null, parentId, text };
    const item = Object.assign(this.#liveItem(), { sent: true });
    const stream = this.#stream(new RunStream(), item);
    this.running = { stream, item, stopping: false, sending: true };
    this.items = [...(parentId === undefined ? shown : upTo(shown, parentId)), user, item];
    this.#emit("change");
    const body = { message: text, clientRequestId: this.#requestId(text, parentId) };
    if (parentId !== undefined) body.parentId = parentId ?? ""; // null on the wire would mean "after the last message"
    try {
      await this.#ensureThread();
      await stream.send(streamChatPath(this.workspace, this.thread), body);
    } catch (error) {
      this.#lost = error.status === 0 ? { text, parentId, id: body.clientRequestId } : null;
      this.running = null;
      this.items = shown;
      this.#emit("change");
      if (error.code === "run_active") this.load();
      throw error;
    }
    this.#lost = null;
    if (this.#closed) return stream.close();
    if (this.running?.stream === stream) this.running.sending = false;
    this.#emit("started");
    if (this.running?.stopping) this.#stopRun();
  }

  // Asks the prompt of an answer again, on a branch of its own.
  tryAgain(item) {
    const prompt = this.items[this.items.indexOf(item) - 1];
    if (this.running || prompt?.role !== "user") return Promise.resolve();
    return this.send(prompt.text, { parentId: prompt.parentId });
  }

  async stop() {
    if (!this.running || this.running.stopping) return;
    this.running.stopping = true;
    this.#emit("change");
    await this.#stopRun(); // before the server has named the run, `send` does it
  }

  // Learns in which order text and tools of a stored answer came, by folding its run's frames.
  unfold(item) {
    const { message } = item;
    if (item.live || item.unfolded || !message.runId) return;
    item.unfolded = true;
    if (!message.parts.some((part) => part.kind === "tool") || message.parts.at(-1).kind !== "text") return;
    const whole = newMessage();
    const stream = new RunStream(message.runId);
    stream.addEventListener("frame", ({ detail }) => fold(whole, detail.seq, detail.frame));
    this.#replays.add(stream);
    stream.addEventListener("end", () => {
      if (!whole.ending) return;
      whole.metrics ??= message.metrics;
      item.message = whole;
      this.#emit("frame", { item });
    });
    stream.follow();
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
    return lost?.text === text && lost.parentId === parentId ? lost.id : uid();
  }

  #follow(runId) {
    this.#leaveRun();
    const item = this.#liveItem();
    this.running = { stream: this.#stream(new RunStream(runId), item), item, stopping: false };
    this.running.stream.follow();
  }

  #leaveRun() {
    this.running?.stream.close();
    this.running = null;
  }

  #liveItem() {
    return { key: uid(), role: "assistant", id: null, message: newMessage(), live: true, link: "opening", since: null };
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
      this.#known.set(item.id, item);
    }
    if (item.message.rename !== rename) this.#emit("renamed", item.message.rename);
    this.#emit("frame", { item });
  }

  async #ended(item) {
    item.live = false;
    if (this.running?.item === item) this.running = null;
    this.#emit("ended", { item });
    this.#emit("change");
    await this.load();
  }

  #show() {
    const shown = lastBranch(this.#history).map((stored) => this.#item(stored));
    if (this.running && !shown.includes(this.running.item)) shown.push(this.running.item);
    this.items = shown;
    this.#emit("change");
  }

  #item(stored) {
    const known = this.#known.get(stored.chatId);
    if (known?.message && !known.message.ending) known.message = fromHistory(stored); // its ending was never seen
    if (known) {
      if (known.message) known.message.metrics ??= stored.metrics ?? null; // only a completed run's ending carries them
      return Object.assign(known, { parentId: stored.parentId });
    }
    const item = { key: stored.chatId, role: stored.role, id: stored.chatId, parentId: stored.parentId };
    if (stored.role === "user") item.text = stored.content;
    else Object.assign(item, { message: fromHistory(stored), live: false, link: "open", since: null });
    this.#known.set(item.id, item);
    return item;
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
