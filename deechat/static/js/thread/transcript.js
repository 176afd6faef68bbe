// Folds the frames of one run into one message. No DOM, no clock, no network: the same frames give the same message,
// whether they come live, after a reload, in a second tab or from a replay.
//
// A message is a list of parts in the order in which they happened. Each part has a `key` that never changes and a `rev`
// that grows whenever the part does, so that a view redraws only what changed.

export const ENDINGS = new Set(["finalizeResponseStream", "stopGeneration", "abort"]);

const MODEL_CHANGES = new Set(["model_changed", "model_server_changed"]); // statuses that name who answers now
const LASTING = new Set(["context_small", "history_left_out"]); // statuses that say what a person may want to change
// Finish reasons of answers that lack something: cut at the limit, filtered, without a word of text at the end.
const LACKING = new Set(["length", "content_filter", "no_text"]);

export function newMessage() {
  return {
    id: null,
    runId: null,
    model: null,
    seq: 0, // the last SEQ that was folded
    parts: [],
    status: null, // { text, code, params } of what the run is doing
    anew: false, // whether the step at work began once more after a restart of the server
    rename: null, // { slug, name } when the run named its thread
    sources: [],
    metrics: null,
    ending: null, // { type, reason, code, error, lacks } once it is over; `lacks`: a finish reason of `LACKING`, or null
  };
}

// Takes one frame at its SEQ; gives whether it was new. A frame that was folded before changes nothing.
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

// All text of the answer: what the server keeps as the message's content.
export function textOf(message) {
  return message.parts.filter((part) => part.kind === "text").map((part) => part.text).join("");
}

// Frame type → what it does to the message. Every type of the wire contract stands here.
export const FRAMES = {
  runStarted(message, frame) {
    message.runId = frame.runId;
    message.model = frame.model ?? null;
  },
  rename_thread(message, frame) {
    message.rename = frame.thread;
  },
  stepStarted(message) {
    message.status = message.model && { text: null, code: "thinking", params: { model: message.model } };
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
    call.rev += 1;
  },
  toolCallResult(message, frame) {
    settle(message);
    if (isTold(message, frame.toolCallId)) return;
    const call = tool(message, frame);
    Object.assign(call, { content: frame.content ?? "", seconds: frame.seconds ?? null });
    call.state = frame.isError ? "error" : "done";
    call.rev += 1;
  },
  toolApprovalRequest(message, frame) {
    ask(message, frame, { kind: "approval", name: frame.skillName, arguments: frame.payload, text: frame.description });
  },
  clarificationRequest(message, frame) {
    ask(message, frame, { kind: "questions", questions: frame.questions ?? [], allowSkip: frame.allowSkip ?? false });
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
    // The first has the stored one's key: a line that somebody opened stays open when the run's frames are unfolded.
    const key = message.parts.some((part) => part.kind === "summary") ? `h${seq}` : "h";
    if (frame.summary) message.parts.push({ kind: "summary", key, rev: 1, text: frame.summary });
  },
  finalizeResponseStream(message, frame) {
    if (frame.sources?.length) message.sources = frame.sources;
    message.metrics = frame.metrics ?? null;
    end(message, frame, "completed");
  },
  stopGeneration: (message, frame) => end(message, frame, "stopped"),
  abort: (message, frame) => end(message, frame, "failed"),
};

// Whether the run does nothing but wait for a person.
export function isWaiting({ parts, ending }) {
  const open = parts.some((part) => part.requestId && part.state === "open");
  return !ending && open && !parts.some((part) => part.kind === "tool" && part.state === "running");
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
    message.parts.push(call);
  }
  return call;
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
  message.ending = {
    type: frame.type,
    reason: frame.reason ?? reason,
    code: frame.code ?? null,
    error: typeof frame.error === "string" ? frame.error : null,
    lacks: lacking(frame.finishReason),
  };
}

function lacking(finishReason) {
  return LACKING.has(finishReason) ? finishReason : null;
}

const ENDING_OF = { completed: "finalizeResponseStream", stopped: "stopGeneration" };

// The message that a stored one gives. The history does not tell in which order text and tools came, so the parts stand in
// the usual one: what it summarized, thoughts, tools, text. Folding the run's frames gives the order, when somebody looks.
export function fromHistory(stored) {
  const message = newMessage();
  Object.assign(message, { id: stored.chatId, runId: stored.run ?? null, metrics: stored.metrics ?? null });
  message.model = stored.metrics?.model ?? null;
  message.sources = stored.sources ?? [];
  if (stored.summary) message.parts.push({ kind: "summary", key: "h", rev: 1, text: stored.summary });
  if (stored.reasoning?.trim()) message.parts.push({ kind: "reasoning", key: "r", rev: 1, text: stored.reasoning, open: false });
  for (const call of stored.toolCalls ?? []) message.parts.push(storedCall(call));
  for (const [n, text] of (stored.steered ?? []).entries()) {
    message.parts.push({ kind: "steered", key: `s${n}`, rev: 1, text: text.message ?? text });
  }
  if (stored.content) message.parts.push({ kind: "text", key: "t", rev: 1, text: stored.content, open: false });
  const reason = stored.reason ?? "completed";
  const type = ENDING_OF[reason] ?? "abort";
  message.ending = { type, reason, code: stored.code ?? null, error: stored.error || null, lacks: lacking(stored.finishReason) };
  return message;
}

const ASKING = "ask_user";

function storedCall(call) {
  const values = objectOf(call.arguments);
  if (call.name === ASKING && Array.isArray(values?.questions)) return storedQuestions(call, values.questions);
  const state = call.content == null ? "void" : call.isError ? "error" : "done";
  const { toolCallId, name, content = null, seconds = null } = call;
  return { kind: "tool", key: `c${toolCallId}`, rev: 1, name, arguments: values, content, seconds, state };
}

// A call that never started has its arguments as the model wrote them.
function objectOf(values) {
  if (typeof values !== "string") return values;
  try {
    return Object(JSON.parse(values));
  } catch {
    return { "": values };
  }
}

function storedQuestions({ toolCallId, content }, questions) {
  const state = content == null ? "void" : "answered";
  return { kind: "questions", key: `q${toolCallId}`, rev: 1, toolCallId, state, questions, answers: null, summary: content ?? "" };
}
