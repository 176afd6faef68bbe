// Reads a Server-Sent-Events stream from bytes. Knows the format and nothing of what travels in it; no DOM, no network.

// `onEvent({ event, data, id })` is called for each dispatched event; `id` is null when the event had no `id:` line of its
// own (unlike EventSource, which repeats the last one). `onRetry(milliseconds)` is called for a `retry:` line.
export class SseParser {
  #decoder = new TextDecoder(); // drops a BOM at the start, keeps characters whole across chunk borders
  #rest = ""; // the beginning of a line whose end has not come
  #afterCr = false; // the last chunk ended in CR: a LF that comes next belongs to it
  /** @type {string[]} */
  #data = [];
  #event = "";
  /** @type {number | null} */
  #id = null;

  /**
   * @param {(event: { event: string, data: string, id: number | null }) => void} onEvent
   * @param {(milliseconds: number) => void} onRetry
   */
  constructor(onEvent, onRetry = () => {}) {
    this.onEvent = onEvent;
    this.onRetry = onRetry;
  }

  feed(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (!text) return;
    if (this.#afterCr && text[0] === "\n") text = text.slice(1);
    this.#afterCr = text ? text.endsWith("\r") : false;
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const field = colon < 0 ? line : line.slice(0, colon);
    const raw = colon < 0 ? "" : line.slice(colon + 1);
    const value = raw.startsWith(" ") ? raw.slice(1) : raw;
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && /^\d+$/.test(value)) this.#id = Number(value); // our ids are digits
    else if (field === "retry" && /^\d+$/.test(value)) this.onRetry(Number(value));
  }

  #dispatch() {
    const { length } = this.#data;
    const event = { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id };
    this.#data = [];
    this.#event = "";
    this.#id = null;
    if (length) this.onEvent(event);
  }
}
