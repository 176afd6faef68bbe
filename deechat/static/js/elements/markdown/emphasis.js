// Emphasis beside Chinese, Japanese and Korean. CommonMark takes a run of * beside punctuation for an opening or a closing
// one by the spaces around it, and these scripts have none: `**具体：**不说` stays as it is. The CJK-friendly amendments
// (github.com/tats-u/markdown-cjk-friendly, specification.md; commonmark-spec #650) let their letters and their punctuation
// stand where a space would. Nothing changes for a run that touches none of them.

// East Asian Width W, F or H, or Hangul, and no emoji.
const CJK = new RegExp(
  "^(?!\\p{Emoji_Presentation})[\\u1100-\\u11ff\\u20a9\\u2329\\u232a\\u2630-\\u2637\\u268a-\\u268f\\u2e80-\\u303e" +
    "\\u3041-\\u3247\\u3250-\\ua4cf\\ua960-\\ua97f\\uac00-\\ud7ff\\uf900-\\ufaff\\ufe10-\\ufe19\\ufe30-\\ufe6f\\uff00-\\uffef" +
    "\\u{16fe0}-\\u{1b2ff}\\u{1d300}-\\u{1d37f}\\u{1f200}-\\u{1f265}\\u{20000}-\\u{3fffd}]",
  "u",
);
const SELECTOR = /^[\ufe00-\ufe0e]$/; // how the character before it looks; no emoji
const IDEOGRAPHIC_SELECTOR = /^[\u{e0100}-\u{e01ef}]$/u;
const WIDE_QUOTE = /^[‘’“”]$/; // with the selector U+FE01

// One within another; a run of thousands of * would nest as deep, and the browser needs the square of that to build it.
const DEEPEST = 50;
const MARKS = new Set(["em", "strong", "s"]);

function hideDeeper(children) {
  let depth = 0;
  for (const token of children) {
    if (!MARKS.has(token.tag)) continue;
    if (token.nesting > 0) depth += 1;
    token.hidden = depth > DEEPEST;
    if (token.nesting < 0) depth -= 1;
  }
}

export function emphasis(md) {
  const { isWhiteSpace, isPunctChar, isMdAsciiPunct } = md.utils;

  // What the amendments ask of the character beside a run; "" is the beginning or the end of the line.
  function look(char, selector = "") {
    const code = char.codePointAt(0) ?? 0x20;
    const punctuation = isMdAsciiPunct(code) || isPunctChar(char);
    const cjk = CJK.test(char) || (selector === "\ufe01" && WIDE_QUOTE.test(char));
    return { space: isWhiteSpace(code), punctuation, cjk, foreign: punctuation && !cjk };
  }

  function lookBack(text) {
    const [last = "", before = ""] = [...text].reverse();
    if (before && SELECTOR.test(last)) return look(before, last);
    return { ...look(last), chosen: IDEOGRAPHIC_SELECTOR.test(last) };
  }

  md.core.ruler.after("inline", "emphasis_depth", ({ tokens }) => {
    for (const { type, children } of tokens) if (type === "inline") hideDeeper(children);
  });

  md.inline.State = class extends md.inline.State {
    scanDelims(start, splitsWords) {
      const run = super.scanDelims(start, splitsWords);
      const end = start + run.length;
      const before = lookBack(this.src.slice(Math.max(0, start - 4), start));
      const after = look(String.fromCodePoint(...(end < this.posMax ? [this.src.codePointAt(end)] : [])));
      if (!before.cjk && !before.chosen && !after.cjk) return run;
      const opens = !after.space && (!after.foreign || before.space || before.foreign || before.cjk || before.chosen === true);
      const closes = !before.space && (!before.foreign || after.space || after.foreign || after.cjk);
      return {
        ...run,
        can_open: opens && (splitsWords || !closes || before.punctuation),
        can_close: closes && (splitsWords || !opens || after.punctuation),
      };
    }
  };
}
