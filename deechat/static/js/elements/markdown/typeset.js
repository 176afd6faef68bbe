// Draws formulas with KaTeX, which is loaded when the first one is there; it makes nodes from the formula's source, never from
// HTML. Until then, and where KaTeX cannot read a formula, its source stays. The only user of KaTeX.

import { addToHead, nextTask, untilLoaded } from "../../core/need.js";
import { copyFormulas } from "./copying.js";

const FOLDER = new URL("../../../vendor/katex/", import.meta.url);
const FONTS = ["1em KaTeX_Main", "italic 1em KaTeX_Math", "1em KaTeX_Size2"]; // nearly each formula has them: no jump when they come
const SLICE = 8; // milliseconds of drawing, then the browser has its turn
const KEPT = 300; // drawn formulas: the last block of a text that grows is made again and again
const LONGEST = 3000; // characters; more take longer than a frame
const MOST_CELLS = 400;

// What defines commands makes much of little: `\def\a{…}\a\a\a…` of 2,600 characters took 175 s. So it has to be short.
const DEFINES = /\\(?:[gex]?def|let|futurelet|(?:re)?newcommand|providecommand)(?![A-Za-z])/;
const SHORT = 300;
const WRITES = /\\(?:show|message|errmessage)(?![A-Za-z])/; // to the browser's console

const FORMS = [["$$", "$$"], ["$", "$"], ["\\(", "\\)"], ["\\[", "\\]"]];
const ENVIRONMENT = /^(\\begin\{([A-Za-z]+\*?)\}[^]*\\end\{\2\})([.,;。，；]?)$/;
const AFTER = /^[.,;。，；]?$/;

// The parts of a finished formula: TeX, what follows it, whether it stands on lines of its own; null while its closing is to come.
function read(source) {
  const words = source.trim();
  const environment = ENVIRONMENT.exec(words);
  if (environment) return { tex: environment[1], after: environment[3], display: true };
  const [opening, closing] = FORMS.find(([begin]) => words.startsWith(begin)) ?? [];
  if (!opening) return null;
  const end = words.lastIndexOf(closing);
  const after = words.slice(end + closing.length);
  if (end < opening.length || !AFTER.test(after)) return null;
  return { tex: words.slice(opening.length, end), after, display: opening === "$$" || opening === "\\[" };
}

function isTooMuch(tex) {
  if (WRITES.test(tex) || tex.length > LONGEST) return true;
  return (tex.match(/&|\\\\/g)?.length ?? 0) > MOST_CELLS || (DEFINES.test(tex) && tex.length > SHORT);
}

function refuse() {
  throw new Error("Links, pictures and HTML in formulas are not drawn.");
}

// KaTeX writes some styles as attributes, which the page's content policy refuses; set by script they are allowed.
function holdStyles({ attributes, children = [] }) {
  if (attributes?.style) {
    attributes["data-style"] = attributes.style;
    delete attributes.style;
  }
  for (const child of children) holdStyles(child);
}

function draw(katex, { tex, display }) {
  if (isTooMuch(tex)) return null;
  const maxExpand = DEFINES.test(tex) ? 50 : 1000;
  try {
    const options = { displayMode: display, maxExpand, maxSize: 20, strict: false, throwOnError: true, trust: refuse };
    const tree = katex.__renderToDomTree(tex, options); // oxlint-disable-line no-underscore-dangle -- its name there
    holdStyles(tree);
    const node = tree.toNode();
    for (const each of node.querySelectorAll("[data-style]")) {
      each.style.cssText = each.dataset.style;
      delete each.dataset.style;
    }
    return node;
  } catch {
    return null; // not TeX, or deeper than the stack
  }
}

/** @type {any} */
let katex = null; // when it is there
/** @type {Promise<void> | null} */
let loading = null;

async function load() {
  const sheet = { rel: "stylesheet", href: new URL("katex.css", FOLDER).href };
  await Promise.all([
    untilLoaded(() => addToHead("link", { ...sheet })),
    untilLoaded(() => addToHead("script", { src: new URL("katex.js", FOLDER).href })),
  ]);
  await Promise.allSettled(FONTS.map((font) => document.fonts.load(font)));
  document.addEventListener("copy", copyFormulas);
  katex = /** @type {any} */ (globalThis).katex;
}

const kept = new Map(); // source → node, or null when it stays source

function nodeOf(source, formula) {
  if (!kept.has(source)) {
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    kept.set(source, draw(katex, formula));
  }
  return kept.get(source)?.cloneNode(true);
}

// Draws the formula of an element, unless its closing is still to come.
function show(element) {
  const source = element.textContent;
  const formula = read(source);
  if (!formula) return;
  const node = nodeOf(source, formula);
  if (!node) return element.classList.add("left");
  element.dataset.source = source.trim();
  element.classList.add("drawn", ...(formula.display ? ["display"] : []));
  element.replaceChildren(node, formula.after);
  const block = formula.display ? element : element.closest("p, li, blockquote, h1, h2, h3, h4, h5, h6");
  if (block && (formula.display || source.length > WIDE)) sizes.observe(block);
}

// A formula that is wider than its block scrolls in it, and keys reach it then.
const WIDE = 20; // characters; none shorter is
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) fit(target);
});

function fit(block) {
  if (block.matches(".math")) return reach(block, block.scrollWidth > block.clientWidth + 1);
  for (const formula of block.querySelectorAll(".math.drawn:not(.display)")) {
    const widest = Math.max(0, ...[...formula.querySelectorAll(".katex-base")].map((each) => each.offsetWidth));
    const wide = widest > block.clientWidth;
    formula.classList.toggle("wide", wide);
    reach(formula, wide);
  }
}

function reach(element, scrolls) {
  if (scrolls) element.tabIndex = 0;
  else element.removeAttribute("tabindex");
}

const WAITING = ".math:not(.drawn, .left)";
let asked = false; // since the last look at the page
let working = false;

// Draws all formulas of the page that wait, slice by slice.
async function drawWaiting() {
  asked = true;
  if (working) return;
  working = true;
  await (loading ??= load());
  await nextTask(); // what is being made is in the page by then
  while (asked) {
    asked = false;
    let end = performance.now() + SLICE;
    for (const element of document.querySelectorAll(WAITING)) {
      if (element.isConnected) show(element);
      if (performance.now() < end) continue;
      await nextTask();
      end = performance.now() + SLICE;
    }
  }
  working = false;
}

/**
 * Draws the formulas of nodes that are not in the page yet: at once as far as that takes no time, else as soon as it can be done.
 * @param {DocumentFragment} fragment
 */
export function typeset(fragment) {
  const end = performance.now() + SLICE;
  for (const element of fragment.querySelectorAll(".math")) {
    if (!katex || performance.now() > end) return void drawWaiting();
    show(element);
  }
}
