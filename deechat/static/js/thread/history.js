// What the server stored of an answer, told as frames: so there is one way to a message, live or stored.

import { fold, newMessage } from "./transcript.js";

const ENDING_OF = { completed: "finalizeResponseStream", stopped: "stopGeneration" };
const ASKING = "ask_user";

/**
 * The message that a stored one gives: the fold of frames that say the same. The history does not tell in which order text
 * and tools came, so they come in the usual one. Folding the run's own frames gives the order, when somebody looks.
 * @param {any} stored
 */
export function fromHistory(stored) {
  const message = newMessage();
  let seq = 0;
  for (const frame of framesOf(stored)) {
    seq += 1e-6; // so no part has the key of one that the run's own frames give
    fold(message, seq, frame);
  }
  return Object.assign(message, { metrics: stored.metrics ?? null, sources: stored.sources ?? [] });
}

function* framesOf({ chatId, run, metrics, summary, reasoning, content, reason = "completed", ...stored }) {
  yield { type: "runStarted", id: chatId, runId: run ?? null, model: metrics?.model };
  if (summary) yield { type: "historySummarized", summary };
  if (reasoning?.trim()) yield { type: "reasoningChunk", textResponse: reasoning };
  for (const call of stored.toolCalls ?? []) yield* framesOfCall(call);
  for (const text of stored.steered ?? []) yield { type: "steered", message: text.message ?? text };
  yield { type: "textResponseChunk", textResponse: content };
  const { code, error, finishReason } = stored;
  yield { type: ENDING_OF[reason] ?? "abort", reason, code, error: error || null, finishReason };
}

function* framesOfCall({ toolCallId, name, content, arguments: given, ...result }) {
  const values = objectOf(given);
  const hasResult = content !== null && content !== undefined;
  if (name === ASKING && Array.isArray(values?.questions)) {
    yield { type: "clarificationRequest", requestId: toolCallId, toolCallId, questions: values.questions };
    if (hasResult) yield { type: "inputReceived", requestId: toolCallId, summary: content };
    return;
  }
  yield { type: "toolCallInvocation", toolCallId, name, arguments: values };
  if (hasResult) yield { type: "toolCallResult", toolCallId, name, content, ...result };
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
