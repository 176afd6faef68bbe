// Colours the code of finished blocks when they come into sight and the browser has time. A worker finds the colours
// (`workers/highlighting.js`), so only the painting takes time here, and that is sliced. No colour changes a width: nothing
// jumps. Until then, and where a language is not known, code is plain.

import { h } from "../../core/dom.js";
import { nextTask, untilLoaded } from "../../core/need.js";
import { nameOf } from "./code.js";
import { languageOf } from "./languages.js";

const WORKER = new URL("../../workers/highlighting.js", import.meta.url);
const LONGEST = 200_000; // characters; longer code stays plain
const PATIENCE = 10_000; // milliseconds: a grammar may need the square of the length for a hostile code
const PART = 8000; // characters that are painted at once, in an element that is laid out by itself
const MOST = 3000; // painted pieces of a part
const KEPT = 200; // codes of one part, with their pieces: an answer may be drawn anew
const IDLE = { timeout: 1000 };

// Ends when the browser has time; Safari cannot say when.
function idle() {
  return "requestIdleCallback" in globalThis ? new Promise((resolve) => requestIdleCallback(resolve, IDLE)) : nextTask();
}

/** @type {Worker | null} */
let worker = null;

// The pieces of a code, null when it took too long. Raises when the worker or a grammar could not be loaded.
function ask(language, code) {
  const asked = (worker ??= new Worker(WORKER, { type: "module" }));
  return new Promise((resolve, reject) => {
    const end = (settle, value, over) => {
      clearTimeout(timer);
      listening.abort();
      if (over) asked.terminate();
      if (over && worker === asked) worker = null;
      settle(value);
    };
    const listening = new AbortController();
    const { signal } = listening;
    const timer = setTimeout(() => end(resolve, null, true), PATIENCE);
    const fail = () => end(reject, new Error("The highlighter could not be loaded."), true);
    asked.addEventListener("error", fail, { signal });
    asked.addEventListener("message", ({ data }) => (data.failed ? fail() : end(resolve, data.pieces)), { signal });
    asked.postMessage({ language, code });
  });
}

const kept = new Map(); // language and code → pieces

async function piecesOf(language, code) {
  const key = `${language}\n${code}`;
  if (kept.has(key)) return kept.get(key);
  const pieces = await untilLoaded(() => ask(language, code));
  if (code.length > PART) return pieces;
  if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
  kept.set(key, pieces);
  return pieces;
}

// The code in parts that end where lines end, each a list of [text, kind].
function partsOf(code, pieces) {
  const parts = [];
  let [part, at, size] = [/** @type {string[][]} */ ([]), 0, 0];
  for (let index = 0; index < pieces.length; index += 2) {
    const text = code.slice(at, at + pieces[index]);
    at += text.length;
    size += text.length;
    const cut = size < PART ? 0 : text.lastIndexOf("\n") + 1;
    part.push([cut ? text.slice(0, cut) : text, pieces[index + 1]]);
    if (!cut) continue;
    parts.push(part);
    part = cut < text.length ? [[text.slice(cut), pieces[index + 1]]] : [];
    size = text.length - cut;
  }
  return part.length ? [...parts, part] : parts;
}

function nodesOf(part) {
  return part.map(([text, kind], index) => {
    if (kind === "plain" || index >= MOST) return text;
    return h("span", { class: `code-${kind}`, text });
  });
}

// What a person has selected stays selected: it is painted later.
function isSelected(element) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
}

async function whileSelected(element) {
  while (isSelected(element)) {
    await new Promise((resolve) => document.addEventListener("selectionchange", resolve, { once: true }));
  }
}

async function paint(element, code, pieces) {
  const parts = partsOf(code, pieces);
  if (parts.length < 2) return element.replaceChildren(...parts.flatMap(nodesOf));
  const plain = parts.map((part) => h("span", { class: "code-part", text: part.map(([text]) => text).join("") }));
  element.replaceChildren(...plain);
  for (const [index, part] of parts.entries()) {
    await idle();
    await whileSelected(element);
    plain[index].replaceChildren(...nodesOf(part));
  }
}

const waiting = new Set(); // the `pre` elements in sight, in order
let working = false;

async function work() {
  if (working) return;
  working = true;
  for (const pre of waiting) {
    waiting.delete(pre);
    await idle();
    const element = pre.querySelector("code");
    const code = element?.textContent ?? "";
    if (!pre.isConnected || code.length > LONGEST) continue;
    const pieces = await piecesOf(languageOf(nameOf(pre)), code);
    if (isSelected(element)) void whileSelected(element).then(() => enqueue(pre));
    else if (pieces) await paint(element, code, pieces);
  }
  working = false;
}

function enqueue(pre) {
  waiting.add(pre);
  void work();
}

const seen = new WeakSet();
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    sight.unobserve(target);
    enqueue(target);
  }
}, { rootMargin: "100%" });

/**
 * Colours the code blocks of nodes that do not change any more.
 * @param {DocumentFragment | HTMLElement} nodes
 */
export function colour(nodes) {
  for (const pre of nodes.querySelectorAll(".code-block pre")) {
    if (seen.has(pre) || !languageOf(nameOf(pre))) continue;
    seen.add(pre);
    sight.observe(pre);
  }
}
