// The AI SDK's `useChat` in a page without a browser: React draws into a document of happy-dom.

import { Window } from "happy-dom";

const page = new Window({ url: "http://127.0.0.1/" });
globalThis.window = page;
globalThis.document = page.document;
globalThis.navigator ??= page.navigator; // newer versions of node have one

const { createElement, useEffect } = await import("react");
const { createRoot } = await import("react-dom/client");
const { useChat } = await import("@ai-sdk/react");
const { DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } = await import("ai");
const { WorkflowChatTransport } = await import("@ai-sdk/workflow/client");

console.error = () => {}; // one of the transports says there that it was cut off

// The one gets its thread by the body's `id`, the other by the address.
const TRANSPORTS = {
  default: (url) => new DefaultChatTransport({ api: url }),
  workflow: (url, threadId) => new WorkflowChatTransport({ api: `${url}/${threadId}` }),
  // By itself it gives up at the third cut of a stream that it came back to.
  patient: (url, threadId) => new WorkflowChatTransport({ api: `${url}/${threadId}`, maxConsecutiveErrors: 1000 }),
};

const pages = new Map();

function Chat({ name, url, threadId, transport, messages, resume }) {
  const chat = useChat({
    id: threadId,
    messages,
    resume,
    transport: TRANSPORTS[transport](url, threadId),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
    onFinish: ({ isError, isAbort }) => void tell({ name, finished: true, isError, isAbort }),
    onError: (error) => tell({ name, error: String(error) }),
  });
  useEffect(() => {
    const page = pages.get(name);
    page.chat = chat;
    page.opened();
    tell({ name, status: chat.status, messages: chat.messages });
  });
  return null;
}

// Opens a page with a chat. `messages` is its history, `resume` whether it joins the thread's answer.
commands.open = (given) =>
  new Promise((opened) => {
    const root = createRoot(document.createElement("div"));
    pages.set(given.name, { root, opened: () => opened() }); // gives no value
    root.render(createElement(Chat, given));
  });

commands.close = ({ name }) => pages.get(name).root.unmount();

commands.say = ({ name, text, id }) =>
  pages.get(name).chat.sendMessage({ id, role: "user", parts: [{ type: "text", text }] });

commands.approve = ({ name, id, approved, reason }) =>
  pages.get(name).chat.addToolApprovalResponse({ id, approved, reason });

commands.resume = ({ name }) => pages.get(name).chat.resumeStream();

commands.regenerate = ({ name }) => pages.get(name).chat.regenerate();
