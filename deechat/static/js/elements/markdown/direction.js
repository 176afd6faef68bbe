// Where a text begins, right or left. A block that holds text says the direction of its first letter, which is the browser's
// own rule: with dir="auto" the browser would look for that letter again for each code in the block that gets its own `dir`.
// A list, a quote and a table hold blocks, and say the direction of their first text, so that markers, bars and columns stand
// on its side. A block without a letter, such as a number, says nothing and goes the way of what is around it. One that begins with
// a foreign name ("React یک کتابخانه است") in a text from right to left goes that way too. Code, addresses and formulas go
// from left to right and have no say.

const LETTER = /[\p{L}\u200e\u200f\u061c]/u;
const FROM_RIGHT = /[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const HOLDERS = new Set("blockquote bullet_list ordered_list list_item table".split(" ").map((name) => `${name}_open`));

// "rtl" or "ltr" by the first letter; null without one.
export function directionOf(text) {
  const [letter] = LETTER.exec(text) ?? [];
  if (letter === undefined) return null;
  return FROM_RIGHT.test(letter) ? "rtl" : "ltr";
}

const ENOUGH = 60; // letters; with the next ones no block that grows turns around any more

function mostlyFromRight(text) {
  const letters = (text.match(/\p{L}/gu) ?? []).slice(0, ENOUGH);
  return letters.filter((letter) => FROM_RIGHT.test(letter)).length > letters.length / 2;
}

// The words of a block, without what has no say; code whose end is still to come neither.
function proseOf(children) {
  let words = "";
  let address = false;
  for (const child of children) {
    if (child.type === "link_open" && child.info === "auto") {
      child.attrSet("dir", "ltr");
      address = true;
    } else if (child.type === "link_close") address = false;
    else if (child.type === "text" && !address) words += child.content;
  }
  return words.replace(/`[^]*$/, "");
}

export function direction(md) {
  md.core.ruler.push("direction", ({ tokens, env }) => {
    const open = [];
    for (const token of tokens) {
      if (token.nesting > 0) open.push(token);
      else if (token.nesting < 0) open.pop();
      const words = token.type === "inline" ? proseOf(token.children) : "";
      const first = directionOf(words);
      if (!first) continue;
      env.direction ??= first; // the whole text's
      const turned = first === "ltr" && env.direction === "rtl" && mostlyFromRight(words);
      const found = turned ? "rtl" : first;
      const block = open.findLast(({ hidden }) => !hidden); // the paragraph of a tight list is not shown
      if (!block.attrGet("dir")) block.attrSet("dir", found);
      for (const each of open) if (HOLDERS.has(each.type) && !each.attrGet("dir")) each.attrSet("dir", found);
    }
  });
}
