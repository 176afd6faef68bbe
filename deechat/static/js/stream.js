// The supervisor of one run's stream: opens it, reads it, and opens it again, for as long as the run has not ended.
//
// A native EventSource gives up for good on a 503 and says nothing of a dead connection, so this is a fetch with its own
// reader. A connection is a mere view: whatever happens to it, the cursor tells where to read on.

import { ApiError, ask, errorOf, eventsPath, retryAfterOf } from "./api.js";
import { ENDINGS } from "./transcript.js";
import { SseParser } from "./sse.js";

const SILENCE = 40_000; // heartbeats come every 15 s: after this long without a byte the connection is dead
const STALE = 20_000; // on waking up, a connection that has been silent for this long is not trusted
const LONGEST = 30_000; // between two attempts
const SEND_ATTEMPTS = 3;

// Events: "frame" {seq, frame}, "reset" (forget all frames, they come again), "link" {state: "open" | "lost"},
// "end" {seen: whether the ending was among the frames}, "gone" (the run was deleted), "fault" {error}.
// After "end", "gone" or "fault" nothing follows.
export class RunStream extends EventTarget {
  #cursor = 0;
  #retry = 1500;
  #failures = 0;
  #over = false;
  #lastByte = 0;
  #connection = null; // the AbortController of the open fetch
  #wakeUp = null; // ends the pause between two attempts
  #leaving = new AbortController();

  constructor(runId = null) {
    super();
    this.runId = runId;
  }

  // Posts a prompt. Resolves when the server took it, and reads on by itself; rejects with `ApiError` when it did not.
  // The body's `clientRequestId` makes a second POST join the first run, so a lost answer may be asked for again.
  async send(path, body) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const connection = this.#connect();
        const response = await ask(path, { method: "POST", body, ...connection });
        if (!response.ok) throw await errorOf(response);
        this.runId = response.headers.get("X-Run-Id");
        this.#run(response);
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
    this.#wakeUp?.();
  }

  async #run(response) {
    this.#watchForWaking();
    while (!this.#over) {
      try {
        const current = response ?? (await this.#open());
        response = null;
        if (current) await this.#read(current);
      } catch (error) {
        if (error instanceof ApiError && error.status !== 0) this.#finish("fault", { error });
      }
      if (this.#over) break;
      this.#emit("link", { state: "lost" });
      await this.#pause(this.#delay());
    }
  }

  #connect() {
    this.#connection = new AbortController();
    return { signal: this.#connection.signal, headers: { Accept: "text/event-stream" } };
  }

  // One attempt. Gives the open response, or null when the loop should look at `#over` or try again.
  async #open() {
    const { signal, headers } = this.#connect();
    if (this.#cursor) headers["Last-Event-ID"] = String(this.#cursor);
    const response = await ask(eventsPath(this.runId), { signal, headers });
    if (response.status === 200) return response;
    if (response.status === 204) return this.#finish("end", { seen: false });
    if (response.status === 404) return this.#finish("gone");
    if (response.status < 500 && response.status !== 429) throw await errorOf(response);
    this.#asked = retryAfterOf(response);
    await response.body?.cancel();
    return null;
  }

  #asked = null; // seconds that the server asked us to stay away

  async #read(response) {
    const parser = new SseParser((event) => this.#take(event), (wait) => (this.#retry = wait));
    const connection = this.#connection;
    this.#lastByte = Date.now();
    this.#emit("link", { state: "open" });
    const watch = setInterval(() => Date.now() - this.#lastByte > SILENCE && connection.abort(), 5000);
    const reader = response.body.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        this.#lastByte = Date.now();
        this.#failures = 0;
        parser.feed(value);
        if (this.#over) return;
      }
    } finally {
      clearInterval(watch);
      connection.abort(); // whatever ended the reading, the socket must not stay open
    }
  }

  #take({ event, data, id }) {
    if (this.#over || event === "heartbeat") return;
    const frame = JSON.parse(data);
    if (frame.type === "resync") {
      this.#cursor = 0;
      this.#emit("reset");
    } else if (id !== null && id > this.#cursor) {
      this.#cursor = id;
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

  // Grows with each failure, up to 30 s, and is spread so that the tabs of a restarted server do not come all at once.
  #delay() {
    const asked = this.#asked;
    this.#asked = null;
    const grown = Math.min(LONGEST, this.#retry * 2 ** this.#failures) * (0.5 + Math.random() / 2);
    this.#failures = Math.min(this.#failures + 1, 10);
    return asked === null ? grown : asked * 1000 + Math.random() * this.#retry;
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  // A person who comes back, or a network that does, should not wait for the next attempt.
  #watchForWaking() {
    const wake = () => {
      if (document.visibilityState !== "visible") return;
      this.#wakeUp?.();
      if (this.#lastByte && Date.now() - this.#lastByte > STALE) this.#connection?.abort();
    };
    const { signal } = this.#leaving;
    document.addEventListener("visibilitychange", wake, { signal });
    addEventListener("pageshow", wake, { signal });
    addEventListener("online", wake, { signal });
  }
}
