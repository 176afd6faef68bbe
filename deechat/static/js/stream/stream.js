// The supervisor of one run's stream: opens it, reads it, and opens it again, for as long as the run has not ended.
//
// A native EventSource gives up for good on a 503 and says nothing of a dead connection, so this is a fetch with its own
// reader. A connection is a mere view: whatever happens to it, the cursor tells where to read on. So a tab that nobody
// looks at has none, and a network that holds streams back is asked for pieces instead.

import { ApiError, ask, errorOf, eventsPath, retryAfterOf } from "../core/api.js";
import { now } from "../core/clock.js";
import { isHeldBack } from "./guard.js";
import { network } from "./network.js";
import { firstOf } from "./posting.js";
import { presence } from "./presence.js";
import { sleep } from "../core/sleep.js";
import { SseParser } from "./sse.js";

const ENDINGS = new Set(["finalizeResponseStream", "stopGeneration", "abort"]); // frames after which nothing comes
const HEARTBEAT = 15; // seconds between two of a stream's signs of life, of a server that does not say so
const LATE = 5000; // so much later than expected a heartbeat still comes
const LONGEST = 30_000; // between two attempts
const SEND_ATTEMPTS = 3;
const POLL = 25; // seconds that the server may hold a request for pieces
const POLL_LATE = 15_000; // so much later than that, it will not come any more

// Events: "frame" {seq, frame}, "reset" (forget all frames, they come again), "link" {state: "open" | "lost"}, "named"
// (`runId` is known), "end" {seen: whether the ending was among the frames}, "gone" (the run was deleted), "fault" {error}.
// After "end", "gone" or "fault" nothing follows.
export class RunStream extends EventTarget {
  cursor = 0; // the last SEQ that came
  lastByte = 0; // when the last piece came, of whatever kind
  #retry = 1500;
  #heartbeat = HEARTBEAT * 1000;
  #failures = 0;
  #over = false;
  /** @type {AbortController | null} */
  #connection = null; // the AbortController of what is open
  /** @type {AbortController | null} */
  #posting = null; // of a POST whose answer has not begun: that one is not ours to cut off
  /** @type {(() => void) | null} */
  #wakeUp = null; // ends the pause between two attempts
  /** @type {number | null} */
  #asked = null; // seconds that the server asked us to stay away
  #leaving = new AbortController();

  /** @param {string | null} runId */
  constructor(runId = null) {
    super();
    this.runId = runId;
  }

  // Posts a prompt. Resolves when the server took it, and reads on by itself; rejects with `ApiError` when it did not.
  // The body's `clientRequestId` makes a second POST join the first run, so a lost answer may be asked for again.
  // `find()` resolves to the id of the run that the POST began, or null: for networks where its answer does not come.
  async send(path, body, find = async () => null) {
    for (let attempt = 1; ; attempt += 1) {
      const post = new AbortController();
      this.#posting = post;
      try {
        const answer = ask(path, { method: "POST", body, signal: post.signal, headers: { Accept: "text/event-stream" } });
        const taken = await firstOf(answer, find);
        this.#posting = null;
        if (typeof taken === "string") return this.#joinFound(taken, post);
        if (!taken.ok) throw await errorOf(taken);
        this.#connection = post;
        this.#name(taken.headers.get("X-Run-Id"));
        this.#run(taken);
        return;
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 0 || attempt === SEND_ATTEMPTS || this.#over) throw error;
        await this.#pause(300 * 3 ** attempt);
      }
    }
  }

  // Follows the run from its start.
  follow() {
    this.#run(null);
  }

  // Ends the view; the run goes on.
  close() {
    this.#over = true;
    this.#leaving.abort();
    this.#connection?.abort();
    this.#posting?.abort();
    this.#wakeUp?.();
  }

  #joinFound(runId, post) {
    post.abort();
    network.hold();
    this.#name(runId);
    this.#run(null);
  }

  #name(runId) {
    this.runId = runId;
    this.#emit("named");
  }

  async #run(response) {
    this.#watchForWaking();
    while (!this.#over) {
      if (presence.away || network.held) response = this.#drop(response);
      await presence.back();
      if (this.#over) break;
      let well = false;
      try {
        well = network.held ? await this.#poll() : await this.#view(response);
      } catch (error) {
        if (error instanceof ApiError && error.status !== 0) this.#finish("fault", { error });
      }
      response = null;
      if (this.#over || well || presence.away) continue;
      this.#emit("link", { state: "lost" });
      await this.#pause(this.#delay());
    }
  }

  #drop(response) {
    if (response) this.#connection?.abort();
    return null;
  }

  #connect() {
    return (this.#connection = new AbortController());
  }

  // Reads what is open, or what can be opened, until it ends. Gives whether another way is to be taken at once.
  async #view(response) {
    const connection = (response && this.#connection) || this.#connect();
    const guarding = isHeldBack(this, connection);
    try {
      const current = response ?? (await this.#open(connection.signal));
      if (current) await this.#read(current, connection);
    } catch (error) {
      if (!connection.signal.aborted || !(await guarding)) throw error;
    } finally {
      connection.abort(); // whatever ended the reading, the socket must not stay open
    }
    return guarding;
  }

  // One attempt. Gives the open response, or null when the loop should look at `#over` or try again.
  async #open(signal) {
    const headers = { Accept: "text/event-stream" };
    if (this.cursor) headers["Last-Event-ID"] = String(this.cursor);
    return this.#checked(await ask(eventsPath(this.runId), { signal, headers }));
  }

  async #checked(response) {
    if (response.status === 200) return response;
    if (response.status === 204) return this.#finish("end", { seen: false });
    if (response.status === 404) return this.#finish("gone");
    if (response.status < 500 && response.status !== 429) throw await errorOf(response);
    this.#asked = retryAfterOf(response);
    await response.body?.cancel();
    return null;
  }

  async #read(response, connection) {
    const parser = new SseParser((event) => this.#take(event), (wait) => (this.#retry = wait));
    this.#heartbeat = (Number(response.headers.get("X-Heartbeat")) || HEARTBEAT) * 1000;
    this.lastByte = now();
    this.#emit("link", { state: "open" });
    const watch = setInterval(() => this.#silentFor(2) && connection.abort(), 5000);
    const reader = response.body.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        this.lastByte = now();
        this.#failures = 0;
        parser.feed(value);
        if (this.#over) return;
      }
    } finally {
      clearInterval(watch);
    }
  }

  // Asks for what came after the cursor and takes it. Gives whether the server answered.
  async #poll() {
    const connection = this.#connect();
    const wait = this.#failures ? 1 : POLL; // after a trouble, an early word that it is over
    const late = setTimeout(() => connection.abort(), wait * 1000 + POLL_LATE);
    this.lastByte = 0;
    const began = performance.now();
    try {
      const path = `${eventsPath(this.runId)}?wait=${wait}&after=${this.cursor}`;
      const response = await this.#checked(await ask(path, { signal: connection.signal }));
      if (!response) return false;
      const { frames, ended } = await response.json();
      this.#failures = 0;
      this.#emit("link", { state: "open" });
      for (const { id = null, data } of frames) if (!this.#over) this.#takeFrame(id, data);
      if (ended) this.#finish("end", { seen: false });
      if (!frames.length && performance.now() - began < 500) await this.#pause(1000);
      return true;
    } finally {
      clearTimeout(late);
    }
  }

  #take({ event, data, id }) {
    if (!this.#over && event !== "heartbeat") this.#takeFrame(id, JSON.parse(data));
  }

  #takeFrame(id, frame) {
    if (frame.type === "resync") {
      this.cursor = 0;
      this.#emit("reset");
    } else if (id !== null && id > this.cursor) {
      this.cursor = id;
      this.#emit("frame", { seq: id, frame });
      if (ENDINGS.has(frame.type)) this.#finish("end", { seen: true });
    }
  }

  #finish(name, detail = {}) {
    if (this.#over) return null;
    this.close();
    this.#emit(name, detail);
    return null;
  }

  #emit(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  // Whether so many heartbeats in a row have not come, be they late by a few seconds each.
  #silentFor(heartbeats) {
    return now() - this.lastByte > heartbeats * (this.#heartbeat + LATE);
  }

  // Grows with each failure, up to 30 s, and is spread so that the tabs of a restarted server do not come all at once.
  #delay() {
    const asked = this.#asked;
    this.#asked = null;
    const grown = Math.min(LONGEST, this.#retry * 2 ** this.#failures) * (0.5 + Math.random() / 2);
    this.#failures = Math.min(this.#failures + 1, 10);
    return asked === null ? grown : asked * 1000 + Math.random() * this.#retry;
  }

  async #pause(milliseconds) {
    const pause = new AbortController();
    this.#wakeUp = () => pause.abort();
    if (!this.#over) await sleep(milliseconds, pause.signal);
  }

  // A person who comes back, or a network that does, should not wait for the next attempt.
  #watchForWaking() {
    const wake = () => {
      if (document.visibilityState !== "visible") return;
      this.#wakeUp?.();
      if (this.lastByte && this.#silentFor(1)) this.#connection?.abort(); // not trusted after a sleep
    };
    const { signal } = this.#leaving;
    document.addEventListener("visibilitychange", wake, { signal });
    addEventListener("pageshow", wake, { signal });
    addEventListener("online", wake, { signal });
    presence.addEventListener("away", () => this.#connection?.abort(), { signal });
  }
}
