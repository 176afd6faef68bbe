// What this browser remembers: drafts and queued messages by thread, whether the sidebar is folded, and what Enter does
// while an answer is being made; and what this tab does: the answers that were begun on a card. Storage may be full or
// forbidden; then nothing is remembered and nothing else breaks.

export const queueKey = (workspace, thread) => `deechat:queue:${workspace}/${thread}`;
const cardKey = (request) => `deechat:card:${request}`;
const draftKey = (workspace, thread) => `deechat:draft:${workspace}/${thread ?? ""}`;

function read(key, storage = "localStorage") {
  try {
    return globalThis[storage].getItem(key);
  } catch {
    return null;
  }
}

function write(key, value, storage = "localStorage") {
  try {
    if (value) globalThis[storage].setItem(key, value);
    else globalThis[storage].removeItem(key);
  } catch {
    // not remembered
  }
}

export const readDraft = (workspace, thread) => read(draftKey(workspace, thread)) ?? "";
export const writeDraft = (workspace, thread, text) => write(draftKey(workspace, thread), text);
export const readFolded = () => read("deechat:sidebar") === "folded";
export const writeFolded = (folded) => write("deechat:sidebar", folded ? "folded" : "");

// "steer" or "queue".
export const readWhen = () => (read("deechat:when") === "queue" ? "queue" : "steer");
export const writeWhen = (when) => write("deechat:when", when);

function parsed(text, otherwise) {
  try {
    return JSON.parse(text) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// A list of { id, text }.
export const readQueue = (workspace, thread) => parsed(read(queueKey(workspace, thread)), []);
export const writeQueue = (workspace, thread, items) =>
  write(queueKey(workspace, thread), items.length ? JSON.stringify(items) : "");

export const readCard = (request) => parsed(read(cardKey(request), "sessionStorage"), null);
export const writeCard = (request, draft) => write(cardKey(request), draft && JSON.stringify(draft), "sessionStorage");
