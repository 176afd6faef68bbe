// Clients of AG-UI: the protocol's own, and TanStack's, which comes back after a cut.

import { HttpAgent, verifyEvents } from "@ag-ui/client";
import { EventSchemas } from "@ag-ui/core/schemas";
import { ChatClient, fetchServerSentEvents } from "@tanstack/ai-client";
import { from, lastValueFrom, toArray } from "rxjs";

// Holds the events of each log to the protocol's shapes, and to the order that its client enforces.
commands.verify = async ({ logs }) => {
  for (const [name, events] of Object.entries(logs)) {
    try {
      const parsed = events.map((event) => EventSchemas.parse(event));
      await lastValueFrom(from(parsed).pipe(verifyEvents(false), toArray()));
    } catch (error) {
      throw new Error(`${name}: ${error.message}`);
    }
  }
  return Object.keys(logs).length;
};

// -- AG-UI's own agent, which holds each event to the same -----------------------------------------------------------

const agents = new Map();

commands.agent = ({ name, url, threadId }) => {
  agents.set(name, new HttpAgent({ url, threadId }));
};

commands.run = async ({ name, runId, messages = [], tools, resume }) => {
  const agent = agents.get(name);
  for (const message of messages) agent.addMessage(message);
  const shown = { events: [], pendingToolCallIds: [], error: null };
  const watching = {
    onEvent: ({ event }) => void shown.events.push(event),
    onRunFinishedEvent: ({ pendingToolCallIds }) => void (shown.pendingToolCallIds = pendingToolCallIds ?? []),
    onRunErrorEvent: ({ event }) => void (shown.error = event),
  };
  await agent.runAgent({ runId, tools, resume }, watching);
  return { ...shown, messages: agent.messages, interrupts: agent.pendingInterrupts };
};

// -- TanStack's client -----------------------------------------------------------------------------------------------

const chats = new Map();

// More attempts than it makes by itself while nothing comes: a server takes longer to start than five of them.
const connect = (url) => fetchServerSentEvents(url, { reconnect: { maxAttempts: 10_000, delayMs: 20 } });

commands.chat = ({ name, url, threadId, tools }) => {
  const chat = { chunks: [], errors: [] };
  chat.client = new ChatClient({
    connection: connect(url),
    threadId,
    tools, // without `execute`: the test gives their results
    onChunk: (chunk) => {
      chat.chunks.push(structuredClone(chunk));
      tell({ name, type: chunk.type, delta: chunk.delta });
    },
    onError: (error) => void chat.errors.push(String(error)),
  });
  chats.set(name, chat);
};

function shown({ client, chunks, errors }) {
  return { chunks, errors, messages: client.getMessages(), interrupts: client.getInterrupts().map(({ id }) => id) };
}

commands.say = async ({ name, text }) => {
  const chat = chats.get(name);
  await chat.client.sendMessage(text);
  return shown(chat);
};

commands.answer = async ({ name, resume }) => {
  const chat = chats.get(name);
  await chat.client.resumeInterruptsUnsafe(resume);
  return shown(chat);
};

commands.result = async ({ name, ...result }) => {
  const chat = chats.get(name);
  await chat.client.addToolResult(result);
  return shown(chat);
};

// A client that nothing disturbs.
commands.join = async ({ url, runId }) => {
  const chunks = [];
  for await (const chunk of connect(url).joinRun(runId)) chunks.push(structuredClone(chunk));
  return chunks;
};

commands.hydrate = ({ url, threadId }) => connect(url).hydrate(threadId);
