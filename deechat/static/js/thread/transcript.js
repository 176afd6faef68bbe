// Folds the frames of one run into one message. No DOM, no clock, no network: the same frames give the same message,
// whether they come live, after a reload, in a second tab or from a replay. The server stores the same parts (history.js).
//
// A message is a list of parts in the order in which they happened. Each part has a `key` that never changes and a `rev`
// that grows whenever the part does, so that a view redraws only what changed.

const MODEL_CHANGES = new Set(["model_changed", "model_server_changed"]); // statuses that name who answers now
const LASTING = new Set(["context_small", "history_left_out"]); // statuses that say what a person may want to change
// Finish reasons of answers that lack something: cut at the limit, filtered, without a word of text at the end.
const LACKING = new Set(["length", "content_filter", "no_text"]);

/**
 * @typedef {{ kind: string, key: string, rev: number, [field: string]: any }} Part
 *   `kind`: "text", "reasoning", "tool", "approval", "questions", "summary", "notice" or "steered"
 * @typedef {object} Ending
 * @property {string} reason
 * @property {string | null} code
 * @property {string | null} error the server's words
 * @property {string | null} lacks a finish reason of `LACKING`
 * @typedef {object} Message
 * @property {string | null} id
 * @property {string | null} runId
 * @property {string | null} model
 * @property {number} seq the last SEQ that was folded
 * @property {Part[]} parts
 * @property {{ text: string | null, code: string | null, params: any } | null} status of what the run is doing
 * @property {boolean} anew whether the step at work began once more after a restart of the server
 * @property {{ slug: string, name: string } | null} rename when the run named its thread
 * @property {any[]} sources
 * @property {any} metrics
 * @property {Ending | null} ending once it is over
 */

/** @returns {Message} */
export function newMessage() {
  return {
    id: null,
    runId: null,
    model: null,
    seq: 0,
    parts: [],
    status: null,
    anew: false,
    rename: null,
    sources: [],
    metrics: null,
    ending: null,
  };
}

/**
 * Takes one frame at its SEQ; gives whether it was new. A frame that was folded before changes nothing.
 * @param {Message} message
 * @param {number} seq
 * @param {any} frame
 */
export function fold(message, seq, frame) {
  if (seq <= message.seq || message.ending) return false;
  message.seq = seq;
  message.id ??= frame.id ?? null;
  FRAMES[nameOf(frame)]?.(message, frame, seq);
  return true;
}

export function nameOf(frame) {
  return frame.type ?? frame.action ?? "";
}

/**
 * All text of the answer: what the server keeps as the message's content.
 * @param {Message} message
 */
export function textOf(message) {
  return message.parts.filter((part) => part.kind === "text").map((part) => part.text).join("");
}

/**
 * Frame type → what it does to the message. Every type of the wire contract stands here.
 * @type {Record<string, (message: Message, frame: any, seq: number) => void>}
 */
export const FRAMES = {
  runStarted(message, frame) {
    message.runId = frame.runId;
    message.model = frame.model ?? null;
  },
  rename_thread(message, frame) {
    message.rename = frame.thread;
  },
  stepStarted(message) {
    const { model } = message;
    message.status = model ? { text: null, code: "thinking", params: { model } } : null;
  },
  statusResponse(message, frame, seq) {
    message.status = { text: frame.textResponse, code: frame.code ?? null, params: frame.params ?? {} };
    if (LASTING.has(frame.code)) message.parts.push({ kind: "notice", key: `n${seq}`, rev: 1, ...message.status });
    if (MODEL_CHANGES.has(frame.code)) message.model = frame.params?.model ?? message.model;
  },
  reasoningChunk: (message, frame, seq) => say(message, "reasoning", frame.textResponse, seq),
  textResponseChunk(message, frame, seq) {
    if (frame.textResponse) say(message, "text", frame.textResponse, seq);
    if (frame.sources?.length) message.sources = frame.sources;
  },
  stepFinished(message) {
    settle(message);
    message.anew = false;
  },
  toolCallInvocation(message, frame) {
    settle(message);
    if (isTold(message, frame.toolCallId)) return;
    const call = tool(message, frame);
    call.arguments = frame.arguments ?? {};
    call.progress = null; // after a restart it begins anew
    call.rev += 1;
  },
  toolProgress(message, frame) {
    const call = message.parts.find((part) => part.key === `c${frame.toolCallId}`);
    if (call?.state !== "running") return;
    call.progress = { text: frame.text ?? "", share: frame.share ?? null };
    call.rev += 1;
  },
  toolCallResult(message, frame) {
    settle(message);
    if (isTold(message, frame.toolCallId)) return;
    const call = tool(message, frame);
    Object.assign(call, resultOf(frame), { rev: call.rev + 1 });
  },
  toolApprovalRequest(message, frame) {
    ask(message, frame, { kind: "approval", name: frame.skillName, arguments: frame.payload, text: frame.description });
  },
  clarificationRequest(message, frame) {
    ask(message, frame, { kind: "questions", questions: frame.questions ?? [], allowSkip: frame.allowSkip ?? false });
  },
  clientCall(message, frame) {
    settle(message);
    const call = tool(message, frame); // the client runs it: its result comes as that of any other call
    call.arguments = argumentsOf(frame.arguments);
    call.rev += 1;
  },
  inputReceived(message, frame) {
    const request = message.parts.find((part) => part.requestId === frame.requestId);
    if (!request) return;
    const { approved = null, answers = null, summary = "" } = frame;
    Object.assign(request, { state: "answered", approved, answers, summary: summary ?? "" });
    request.rev += 1;
  },
  steered(message, frame, seq) {
    settle(message);
    message.parts.push({ kind: "steered", key: `s${seq}`, rev: 1, text: frame.message });
  },
  stepRestarted(message, frame) {
    for (const part of message.parts) forget(part, frame.afterId);
    message.parts = message.parts.filter((part) => part.marks?.length !== 0);
    if (frame.retold) return; // thinking and text are told apart anew, in the frames that follow
    message.status = null;
    message.anew = true;
  },
  historySummarized(message, frame, seq) {
    message.status = null;
    if (frame.summary) message.parts.push({ kind: "summary", key: `h${seq}`, rev: 1, text: frame.summary });
  },
  finalizeResponseStream(message, frame) {
    if (frame.sources?.length) message.sources = frame.sources;
    message.metrics = frame.metrics ?? null;
    end(message, frame, "completed");
  },
  stopGeneration: (message, frame) => end(message, frame, "stopped"),
  abort: (message, frame) => end(message, frame, "failed"),
};

/**
 * Whether the run does nothing but wait for a person.
 * @param {Message} message
 */
export function isWaiting({ parts, ending }) {
  const open = parts.some((part) => part.requestId && part.state === "open");
  return !ending && open && !parts.some((part) => part.kind === "tool" && part.state === "running");
}

// A model's arguments need not be JSON.
function argumentsOf(text) {
  try {
    const value = JSON.parse(text);
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return value;
  } catch {
    // The model wrote no JSON.
  }
  return { arguments: text };
}

// A question, and a tool that was refused, need no card of a tool beside their own.
function isTold(message, toolCallId) {
  const request = message.parts.find((part) => part.requestId && part.toolCallId === toolCallId);
  return Boolean(request) && (request.kind === "questions" || request.approved === false);
}

// Text and reasoning grow at the end: a chunk joins the part before it when that is of the same kind.
// `marks` holds [SEQ, length before it] of each chunk, so that a restarted step can take back what it said.
function say(message, kind, text, seq) {
  let part = message.parts.at(-1);
  if (part?.kind !== kind) {
    settle(message);
    part = { kind, key: `${kind[0]}${seq}`, rev: 0, text: "", open: true, marks: [] };
    message.parts.push(part);
  }
  part.marks.push([seq, part.text.length]);
  part.text += text;
  part.open = true;
  part.rev += 1;
}

function forget(part, after) {
  if (!part.marks) return;
  const first = part.marks.findIndex(([seq]) => seq > after);
  if (first < 0) return;
  part.text = part.text.slice(0, part.marks[first][1]);
  part.marks.length = first;
  part.rev += 1;
}

// The last part will not grow any more unless a chunk of its kind comes right behind it.
function settle(message) {
  const part = message.parts.at(-1);
  if (part?.open) Object.assign(part, { open: false, rev: part.rev + 1 });
}

function tool(message, frame) {
  const key = `c${frame.toolCallId}`;
  let call = message.parts.find((part) => part.key === key);
  if (!call) {
    call = { kind: "tool", key, rev: 0, name: frame.name, arguments: null, content: null, seconds: null, state: "running" };
    Object.assign(call, { progress: null, sources: [], parts: [] });
    message.parts.push(call);
  }
  return call;
}

/**
 * What a tool's part has of a result, as a frame or a stored call tells it.
 * @param {any} result
 */
export function resultOf({ content, isError, seconds = null, sources = [], parts = [], cut = false }) {
  return { content: content ?? "", state: isError ? "error" : "done", seconds, progress: null, sources, parts, cut };
}

function ask(message, frame, fields) {
  settle(message);
  const { requestId, toolCallId = null } = frame;
  message.parts.push({ key: `q${requestId}`, rev: 1, requestId, toolCallId, state: "open", summary: "", ...fields });
}

function end(message, frame, reason) {
  settle(message);
  for (const part of message.parts) {
    if (part.state === "running" || part.state === "open") Object.assign(part, { state: "void", rev: part.rev + 1 });
  }
  message.status = null;
  message.ending = endingOf({ reason, ...frame });
}

/**
 * How an answer ended, as its last frame or the stored message tells it.
 * @param {any} told
 * @returns {Ending}
 */
export function endingOf({ reason, code = null, error, finishReason }) {
  const lacks = LACKING.has(finishReason) ? finishReason : null;
  return { reason, code, error: typeof error === "string" ? error : null, lacks };
}
