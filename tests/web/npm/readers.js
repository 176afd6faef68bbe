// Reads runs with the readers of event streams that npm has, and writes each message as a line of JSON.
//
// Usage: node readers.js FOLDER ORDERS, with the packages in FOLDER/node_modules. ORDERS is JSON, a list of {name, reader,
// url}; a line is {name, event, id, data}. It leaves when each of them has seen an ending.

const { createRequire } = require("node:module");

const [folder, orders] = process.argv.slice(2);
const load = createRequire(`${folder}/`);
const ENDINGS = new Set(["finalizeResponseStream", "stopGeneration", "abort"]);

// Writes a message. Gives whether it was the run's ending.
function write(name, { event, id, data }) {
  process.stdout.write(`${JSON.stringify({ name, event, id, data })}\n`);
  return data !== "" && ENDINGS.has(JSON.parse(data).type);
}

const READERS = {
  eventsource: ({ name, url }) =>
    new Promise((resolve) => {
      const { EventSource } = load("eventsource");
      const source = new EventSource(url);
      const take = ({ type, lastEventId, data }) => {
        if (!write(name, { event: type, id: lastEventId, data })) return;
        source.close();
        resolve();
      };
      source.addEventListener("message", take);
      source.addEventListener("heartbeat", take);
    }),

  "fetch-event-source": async ({ name, url }) => {
    // All that it asks of a browser.
    globalThis.window = globalThis;
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = load("@microsoft/fetch-event-source");
    const leaving = new AbortController();
    let cursor = null; // the `id` of the last message that was whole; its own is that of the last line `id:`
    await fetchEventSource(url, {
      signal: leaving.signal,
      fetch: (input, { headers, ...rest }) => {
        const { "last-event-id": _, ...others } = headers;
        return fetch(input, { ...rest, headers: cursor ? { ...others, "last-event-id": cursor } : others });
      },
      onmessage: (message) => {
        if (message.id) cursor = message.id;
        if (write(name, message)) leaving.abort();
      },
    });
  },

  "durable-long-poll": ({ name, url }) => readDurable(name, url, "long-poll"),
  "durable-sse": ({ name, url }) => readDurable(name, url, "sse"),
};

// Reads a run as a Durable Stream; resolves when the stream is closed, and not at the run's ending.
async function readDurable(name, url, live) {
  const { stream } = load("@durable-streams/client");
  const response = await stream({ url, live, offset: "-1" });
  response.subscribeJson((batch) => {
    for (const item of batch.items) write(name, { event: "", id: batch.offset, data: JSON.stringify(item) });
  });
  await response.closed;
}

Promise.all(JSON.parse(orders).map((order) => READERS[order.reader](order)));
