// The history tells what an answer was made of, not in which order; its run's frames do. They are fetched when somebody
// looks at an answer of which that matters.

import { RunStream } from "../stream/stream.js";
import { fold, newMessage } from "./transcript.js";

export class Unfolding {
  #changed;
  #streams = new Set();

  constructor(changed) {
    this.#changed = changed;
  }

  unfold(item) {
    const { message } = item;
    if (item.live || item.unfolded || !message.runId) return;
    item.unfolded = true;
    const plain = message.parts.every(({ kind }) => kind === "text" || kind === "reasoning");
    if (plain || message.parts.at(-1).kind !== "text") return;
    const whole = newMessage();
    const stream = new RunStream(message.runId);
    this.#streams.add(stream);
    stream.addEventListener("frame", (/** @type {any} */ { detail }) => fold(whole, detail.seq, detail.frame));
    stream.addEventListener("end", () => {
      if (!whole.ending) return;
      whole.metrics ??= message.metrics;
      item.message = whole;
      this.#changed(item);
    });
    stream.follow();
  }

  close() {
    for (const stream of this.#streams) stream.close();
  }
}
