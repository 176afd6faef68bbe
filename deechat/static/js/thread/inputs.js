// What a person says to a run that is already going: answers to its requests, and messages beside it.

import { api } from "../core/api.js";
import { uid } from "../core/dom.js";

const STOPS = new Set(["/stop", "/exit", "/halt"]);

export const isCommand = (text) => STOPS.has(text.trim());

export class Inputs {
  #conversation;
  #changed;

  // `changed(item)` is called whenever something about the item is different.
  constructor(conversation, changed) {
    this.#conversation = conversation;
    this.#changed = changed;
  }

  // Answers a request of the run. What becomes of it stands in the item's `replies`: { rev, state, error } with state
  // "open", "sending", "sent", or "late" when somebody else was earlier; the card closes when the stream says so.
  async respond(requestId, body) {
    const { item, stream } = this.#conversation.running ?? {};
    const busy = ["sending", "sent", "late"].includes(item?.replies[requestId]?.state);
    if (!stream?.runId || busy) return;
    this.#note(item, requestId, "sending");
    try {
      await api.respond(stream.runId, { requestId, ...body });
      this.#note(item, requestId, "sent");
    } catch (error) {
      if (error.status === 409) this.#note(item, requestId, "late");
      else this.#note(item, requestId, "open", error.message);
    }
  }

  #note(item, requestId, state, error = null) {
    const rev = (item.replies[requestId]?.rev ?? 0) + 1;
    item.replies[requestId] = { rev, state, error };
    this.#changed(item);
  }

  // Says something to the run. Resolves to whether the run will read it: false when it has ended meanwhile. Rejects with
  // `ApiError` when it is not known.
  async steer(text) {
    const { item, stream } = this.#conversation.running ?? {};
    if (!item) return false;
    const steer = isCommand(text) ? null : { key: uid(), text };
    if (steer) item.steers.push(steer);
    this.#changed(item);
    try {
      await this.#named(stream);
      if (stream.runId) await api.steer(stream.runId, text);
      else this.#forget(item, steer);
      return Boolean(stream.runId);
    } catch (error) {
      this.#forget(item, steer);
      if (error.status === 409) return false;
      throw error;
    }
  }

  #forget(item, steer) {
    item.steers = item.steers.filter((each) => each !== steer);
    this.#changed(item);
  }

  // A message stands in the frames now.
  heard(item, text) {
    const index = item.steers.findIndex((steer) => steer.text.trim() === text.trim());
    if (index >= 0) item.steers.splice(index, 1);
  }

  // A prompt whose answer has not begun: its run has no name yet, and gets none when the prompt is refused.
  #named(stream) {
    if (stream.runId) return Promise.resolve();
    return new Promise((resolve) => {
      for (const name of ["named", "unsent"]) stream.addEventListener(name, resolve, { once: true });
    });
  }
}
