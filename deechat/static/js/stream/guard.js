// Notices that a network holds a stream back: nothing comes, though the server has sent something.

import { api } from "../core/api.js";
import { now } from "../core/clock.js";
import { network } from "./network.js";
import { presence } from "./presence.js";
import { sleep } from "../core/sleep.js";

const FIRST_LOOK = 5000; // after so long a silence the server is asked whether there is something to say
const NEXT_LOOK = 15_000;
const GRACE = 1000; // for a frame that was on its way during the look

// Watches a stream's connection for as long as it is open; ends it when the run is further on than what came through.
// Gives whether it was so. While pieces keep coming, be it heartbeats, the server is not asked.
export async function isHeldBack(stream, connection) {
  const { signal } = connection;
  let looked = now();
  let cursor = null; // at the last look
  for (;;) {
    const left = () => Math.max(looked, stream.lastByte) + (cursor === stream.cursor ? NEXT_LOOK : FIRST_LOOK) - now();
    await sleep(left(), signal);
    if (signal.aborted) return false;
    if (left() > 0) continue; // something came meanwhile
    looked = now();
    ({ cursor } = stream);
    if (presence.away || !(await isBehind(stream, signal))) continue;
    network.hold();
    connection.abort();
    return true;
  }
}

async function isBehind(stream, signal) {
  const { lastByte } = stream;
  const run = await api.run(stream.runId, signal).catch(() => null);
  if (!run || run.lastEventId <= stream.cursor) return false;
  await sleep(GRACE, signal);
  return !signal.aborted && lastByte === stream.lastByte;
}
