// Formulas stay what the model wrote. Markdown would take the backslash from `\(x^2\)` and from `\\`, and make emphasis of
// `$a*b*c$`; here a formula is one token with its source as text, for people to copy and for a renderer to come.

const LONGEST = 5000; // characters, and so that a text of nothing but openings does not take for ever
const MOST_LINES = 100;
const FORMULA = /^[^`]*[\s\p{L}\p{N}][^`]*$/u; // `\[\]` is two escaped brackets; a backtick begins or ends code
const DOLLARS = /(?<![A-Za-z0-9$])\$(?![\s$])(?:[^$\n`\\]|\\.)*?(?<!\s)\$(?![A-Za-z0-9$])/y; // no prices, no shell variables
const OPENING = /\\\(|\\\[|\$\$(?!\$)|\\begin\{([A-Za-z]+\*?)\}/y;
const AT_LINE = /^(?:\\\[|\$\$(?!\$)|\\begin\{[A-Za-z]+\*?\})/;
const CLOSING = { "\\(": "\\)", "\\[": "\\]", $$: "$$" };

function openingAt(text, at) {
  OPENING.lastIndex = at;
  const found = OPENING.exec(text);
  return found && { opening: found[0], closing: CLOSING[found[0]] ?? `\\end{${found[1]}}` };
}

// Where the closing stands next. Kept, else many openings in front of one closing would each read their way to it.
function nextOf(closing, from, { src, cache }) {
  const known = cache[closing];
  if (known && known.from <= from && (known.at < 0 || known.at >= from)) return known.at;
  cache[closing] = { from, at: src.indexOf(closing, from) };
  return cache[closing].at;
}

// Where the formula that begins here ends; -1 when there is none, the end of the text when its end is still to come.
function endOf(state) {
  const { src, pos, posMax, env } = state;
  const form = openingAt(src, pos);
  if (!form) return dollarsEnd(src, pos);
  const { opening, closing } = form;
  const from = pos + opening.length;
  const end = nextOf(closing, from, state);
  if (end >= 0) return end - from <= LONGEST && FORMULA.test(src.slice(from, end)) ? end + closing.length : -1;
  return env.growing === src && opening !== "$$" && posMax === src.length ? src.length : -1;
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
  if (state.sCount[start] - state.blkIndent >= 4) return false;
  const lineAt = (line) => state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]);
  const first = lineAt(start);
  if (!AT_LINE.test(first)) return false;
  const { opening, closing } = openingAt(first, 0);
  const end = Math.min(last, start + MOST_LINES);
  for (let line = start; line < end && !state.isEmpty(line); line += 1) {
    if (line > start && state.sCount[line] < state.blkIndent) return false;
    const words = lineAt(line);
    const at = words.indexOf(closing, line === start ? opening.length : 0);
    if (at >= 0) return /^[.,;。，；]?\s*$/.test(words.slice(at + closing.length)) && take(state, start, line + 1, silent);
    if (line + 1 === state.lineMax && state.env.growing !== undefined) return take(state, start, line + 1, silent);
  }
  return false;
}

function take(state, start, end, silent) {
  const content = state.getLines(start, end, state.blkIndent, false).trim();
  if (!FORMULA.test(content)) return false;
  if (silent) return true;
  state.line = end;
  const token = state.push("formula_block", "p", 0);
  Object.assign(token, { content, map: [start, end] });
  return true;
}

export function formulas(md) {
  const { escapeHtml } = md.utils;
  md.block.ruler.before("fence", "formula", onLines, { alt: ["paragraph", "reference", "blockquote", "list"] });
  // A text that grows may end in a formula that is not whole yet: its backslash must not come and go.
  md.core.ruler.before("inline", "growing", ({ env, tokens }) => {
    if (env.growing !== undefined) env.growing = tokens.findLast(({ type }) => type === "inline")?.content ?? "";
  });
  md.inline.ruler.before("escape", "formula", inLine);
  md.renderer.rules.formula = (tokens, at) => `<span class="math" dir="ltr">${escapeHtml(tokens[at].content)}</span>`;
  md.renderer.rules.formula_block = (tokens, at) => `<p class="math" dir="ltr">${escapeHtml(tokens[at].content)}</p>\n`;
}
