// Waits for the answer to a POST that begins a run, where a network may keep it back until the run is over.

import { network } from "./network.js";
import { presence } from "./presence.js";
import { sleep } from "../core/sleep.js";

const FIRST_LOOK = 5000;
const NEXT_LOOK = 15_000;
const HELD_LOOK = 1000; // where it is known that streams are held back

// Gives the response, or the id of its run if that is known earlier: `find()` resolves to it, or to null.
export async function firstOf(answer, find) {
  const looking = new AbortController();
  answer.catch(() => {}); // when the id came first, nobody listens any more
  try {
    return await Promise.race([answer, lookFor(find, looking.signal)]);
  } finally {
    looking.abort();
  }
}

async function lookFor(find, signal) {
  for (let wait = network.held ? HELD_LOOK : FIRST_LOOK; ; wait = network.held ? wait * 2 : NEXT_LOOK) {
    await sleep(wait, signal);
    await presence.back();
    if (signal.aborted) return new Promise(() => {}); // the response came first
    const runId = await find().catch(() => null);
    if (runId) return runId;
  }
}
