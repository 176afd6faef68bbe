// A message that the server stored, as the same parts that the frames of its run fold to.

import { endingOf, newMessage, resultOf } from "./transcript.js";

/**
 * @param {any} stored
 * @returns {import("./transcript.js").Message}
 */
export function fromHistory({ chatId: id, run: runId, metrics = null, sources = [], ...stored }) {
  const model = metrics?.model ?? null;
  const ending = endingOf({ reason: "completed", ...stored });
  return { ...newMessage(), id, runId, model, metrics, sources, ending, parts: partsOf(stored) };
}

function partsOf({ content, reasoning = "", toolCalls = [], steered = [], summary, parts }) {
  const calls = new Map(toolCalls.map((call) => [call.toolCallId, call]));
  const rest = { text: content, reasoning };
  let joined = 0;
  const said = ({ kind, length }) => {
    const text = rest[kind].slice(0, length);
    rest[kind] = rest[kind].slice(length);
    return { text, open: false };
  };
  // Kind of part → the fields that it does not hold itself.
  const fields = {
    text: said,
    reasoning: said,
    tool: ({ toolCallId }) => toolOf(calls.get(toolCallId)),
    approval: ({ toolCallId, arguments: asked = calls.get(toolCallId)?.arguments, description, approved }) => ({
      arguments: asked,
      text: description,
      state: approved === null ? "void" : "answered",
    }),
    questions: ({ toolCallId, questions = calls.get(toolCallId)?.arguments?.questions ?? [], answers }) => ({
      questions,
      state: answers === null ? "void" : "answered",
    }),
    steered: () => ({ text: steered[joined++] }),
    summary: ({ text = summary }) => ({ text }),
    notice: () => ({}),
  };
  const known = parts.filter(({ kind }) => fields[kind]); // a newer server may have more
  return known.map((part, index) => ({ key: `${index}`, rev: 1, ...part, ...fields[part.kind](part) }));
}

// A call that never started has its arguments as the model wrote them: those are no frame's.
function toolOf({ name, arguments: given, ...result }) {
  const fields = { name, arguments: typeof given === "string" ? null : given, ...resultOf(result) };
  return result.content === null ? { ...fields, content: null, state: "void" } : fields;
}
