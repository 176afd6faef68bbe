// What the page needs only sometimes is loaded when it is first needed. A load that fails is tried again: when the network is
// back, and after a while.

import { h } from "./dom.js";
import { sleep } from "./sleep.js";

const [SOON, LATE] = [1000, 60_000]; // milliseconds between two tries

/**
 * Gives what the first load that works gives.
 * @template Loaded
 * @param {() => Promise<Loaded>} load
 * @returns {Promise<Loaded>}
 */
export async function untilLoaded(load) {
  for (let pause = SOON; ; pause = Math.min(pause * 2, LATE)) {
    try {
      return await load();
    } catch {
      const back = new AbortController();
      addEventListener("online", () => back.abort(), { signal: back.signal });
      await sleep(pause, back.signal);
      back.abort();
    }
  }
}

/**
 * Adds a script or a style sheet to the page; one that fails is taken away again.
 * @param {"script" | "link"} tag
 * @param {Record<string, any>} props
 * @returns {Promise<void>}
 */
export function addToHead(tag, props) {
  return new Promise((resolve, reject) => {
    const fail = () => {
      node.remove();
      reject(new Error("It could not be loaded."));
    };
    const node = h(tag, { ...props, on: { load: () => resolve(), error: fail } });
    document.head.append(node);
  });
}

// Ends in a task of its own, so that the browser can show what there is and hear the person.
export function nextTask() {
  return sleep(0);
}
