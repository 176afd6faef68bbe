// Formulas stay what the model wrote. Markdown would take the backslash from `\(x^2\)` and from `\\`, and make emphasis of
// `$a*b*c$`; here a formula is one token with its source as text, for people to copy and for KaTeX to draw (`typeset.js`).
// The work is linear in the text's length, whatever the text is: one reading finds all closings, and an opening asks for the
// next one of its kind. An opening that read on by itself would freeze the page where a text is nothing but openings.

const LONGEST = 5000; // characters
const MOST_LINES = 100;
const SOON = 30; // characters: within them a formula has a word
const WORD = /[\s\p{L}\p{N}]/u; // `\[\]` is two escaped brackets
const DOLLARS = /(?<![A-Za-z0-9$])\$(?![\s$])(?:[^$\n`\\]|\\.)*?(?<!\s)\$(?![A-Za-z0-9$])/y; // no prices, no shell variables
const OPENING = /\\\(|\\\[|\$\$(?!\$)|\\begin\{([A-Za-z]+\*?)\}/y;
const MARKS = /`|\\\)|\\\]|\$\$|\\end\{[A-Za-z]+\*?\}/g; // a backtick begins or ends code, so none stands in a formula
const LAST = /^[.,;。，；]?\s{0,9}$/; // what may follow a closing on its line
const CLOSING = { "\\(": "\\)", "\\[": "\\]", $$: "$$" };

function openingAt(text, at) {
  OPENING.lastIndex = at;
  const found = OPENING.exec(text);
  return found && { opening: found[0], closing: CLOSING[found[0]] ?? `\\end{${found[1]}}` };
}

// Mark → where it stands in the text, in order.
function marksOf(text) {
  const marks = new Map();
  for (const { 0: mark, index } of text.matchAll(MARKS)) {
    if (!marks.has(mark)) marks.set(mark, []);
    marks.get(mark).push(index);
  }
  return marks;
}

// Where a mark stands next; Infinity when it does not. A parser's state keeps the marks of its text.
function nextOf(mark, from, state) {
  state.marks ??= marksOf(state.src);
  const places = state.marks.get(mark) ?? [];
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle] < from) low = middle + 1;
    else high = middle;
  }
  return places[low] ?? Infinity;
}

// Where the words of a formula end that begin here; -1 when it is none, the end of the text when its closing is still to come.
function wordsEnd(state, from, closing, grows) {
  const { src } = state;
  const closed = nextOf(closing, from, state);
  const end = grows && closed === Infinity ? src.length : closed;
  if (end - from > LONGEST || nextOf("`", from, state) < end) return -1;
  return closed === Infinity || WORD.test(src.slice(from, Math.min(end, from + SOON))) ? end : -1;
}

function endOf(state) {
  const { src, pos, posMax, env, tokens } = state;
  const form = openingAt(src, pos);
  if (!form) return dollarsEnd(src, pos);
  const { opening, closing } = form;
  const grows = env.growing === tokens && opening !== "$$" && posMax === src.length;
  const end = wordsEnd(state, pos + opening.length, closing, grows);
  return end < 0 ? end : Math.min(end + closing.length, src.length);
}

function dollarsEnd(src, pos) {
  DOLLARS.lastIndex = pos;
  return DOLLARS.test(src) ? DOLLARS.lastIndex : -1;
}

function inLine(state, silent) {
  const char = state.src[state.pos];
  if (char !== "\\" && char !== "$") return false;
  const end = endOf(state);
  if (end < 0 || end > state.posMax) return false;
  if (!silent) state.push("formula", "span", 0).content = state.src.slice(state.pos, end);
  state.pos = end;
  return true;
}

// A formula on lines of its own, in which - and + begin no list. It ends with its closing, never goes past an empty line, and
// what follows its closing on the line makes it part of a paragraph.
function onLines(state, start, last, silent) {
  const { src, env, bMarks, eMarks, tShift, sCount, blkIndent } = state;
  if (sCount[start] - blkIndent >= 4) return false;
  const at = bMarks[start] + tShift[start];
  const form = openingAt(src, at);
  if (!form || form.opening === "\\(") return false;
  const end = wordsEnd(state, at + form.opening.length, form.closing, env.growing !== undefined);
  if (end < 0) return false;
  const after = end + form.closing.length;
  const until = Math.min(last, start + MOST_LINES);
  for (let line = start; line < until && !state.isEmpty(line); line += 1) {
    if (line > start && sCount[line] < blkIndent) return false;
    if (eMarks[line] >= after) return LAST.test(src.slice(after, eMarks[line])) && take(state, start, line + 1, silent);
    if (end === src.length && line + 2 === bMarks.length) return take(state, start, line + 1, silent); // the text's last line
  }
  return false;
}

function take(state, start, end, silent) {
  if (silent) return true;
  const content = state.getLines(start, end, state.blkIndent, false).trim();
  state.line = end;
  const token = state.push("formula_block", "p", 0);
  Object.assign(token, { content, map: [start, end] });
  return true;
}

export function formulas(md) {
  const { escapeHtml } = md.utils;
  md.block.ruler.before("fence", "formula", onLines, { alt: ["paragraph", "reference", "blockquote", "list"] });
  // A text that grows may end in a formula that is not whole yet: its backslash must not come and go. Tokens, not words, say
  // which block is the last: another one may have the same words.
  md.core.ruler.before("inline", "growing", ({ env, tokens }) => {
    if (env.growing !== undefined) env.growing = tokens.findLast(({ type }) => type === "inline")?.children ?? [];
  });
  md.inline.ruler.before("escape", "formula", inLine);
  md.renderer.rules.formula = (tokens, at) => `<span class="math" dir="ltr">${escapeHtml(tokens[at].content)}</span>`;
  md.renderer.rules.formula_block = (tokens, at) => `<p class="math" dir="ltr">${escapeHtml(tokens[at].content)}</p>\n`;
}
