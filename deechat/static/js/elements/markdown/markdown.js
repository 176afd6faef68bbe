// The only importer of markdown-it and DOMPurify, and the only way by which a model's text becomes HTML.
// A model's answer is untrusted: it may quote a hostile page. So raw HTML stays text, images are not made at all (fetching
// one would tell its host that somebody reads), links go to http, https and mailto only, and DOMPurify passes nothing but
// the tags and attributes listed here.

import MarkdownIt from "../../../vendor/markdown-it.js";
import DOMPurify from "../../../vendor/dompurify.js";
import { direction } from "./direction.js";
import { emphasis } from "./emphasis.js";
import { formulas } from "./formulas.js";
import { tasks } from "./tasks.js";

const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;
const ALIGNMENTS = { "text-align:left": "left", "text-align:center": "center", "text-align:right": "right" };

const PURIFY = {
  ALLOWED_TAGS: `a blockquote br code del em h1 h2 h3 h4 h5 h6 hr input label li ol p pre s span strong table tbody td th thead
    tr ul`.split(/\s+/),
  ALLOWED_ATTR: "checked class dir disabled href rel start target title type".split(" "),
  ALLOWED_URI_REGEXP: SAFE_LINK,
  ADD_URI_SAFE_ATTR: ["dir", "start"], // a value that is no address is none to be checked
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const md = new /** @type {any} */ (MarkdownIt)({ html: false, linkify: true, breaks: true }).disable("image");
for (const plugin of [emphasis, formulas, tasks]) md.use(plugin);
// Full-width signs that are no punctuation to Unicode end an address too, like the punctuation: ～ ｜ ＜ ＞ ＋ ＝.
md.linkify.re.get_text_separators = () => /[><\uff0b\uff1c-\uff1e\uff5c\uff5e]/;
md.linkify.set({ fuzzyLink: false, fuzzyEmail: false }); // "app.py" and "a.b@c" in prose are no links
md.validateLink = (url) => SAFE_LINK.test(url.trim());

// Tables say their alignment in a style attribute, which the page's content policy rightly refuses: a class says it too.
md.core.ruler.push("alignment_class", (state) => {
  for (const token of state.tokens) {
    const style = token.type === "td_open" || token.type === "th_open" ? token.attrGet("style") : null;
    if (style === null) continue;
    token.attrs = token.attrs.filter(([name]) => name !== "style");
    if (ALIGNMENTS[style]) token.attrSet("class", `align-${ALIGNMENTS[style]}`);
  }
});

md.use(direction); // last, when all words are where they will be

// Tag → the attributes that it always has.
const ALWAYS = {
  A: { target: "_blank", rel: "noopener noreferrer" },
  CODE: { dir: "ltr" },
  INPUT: { type: "checkbox", disabled: "" },
  PRE: { dir: "ltr" },
};

const purifier = /** @type {any} */ (DOMPurify)(window);
purifier.addHook("afterSanitizeAttributes", (node) => {
  for (const [name, value] of Object.entries(ALWAYS[node.tagName] ?? {})) node.setAttribute(name, value);
});

function toNodes(tokens, env) {
  return purifier.sanitize(md.renderer.render(tokens, md.options, env), PURIFY);
}

// A whole text as a fragment.
export function render(text) {
  const env = {};
  return toNodes(md.parse(text, env), env);
}

// The first token of each top-level block, as [index in tokens, first line].
function blocksOf(tokens) {
  const starts = [];
  for (const [index, token] of tokens.entries()) {
    if (token.level === 0 && token.nesting >= 0 && token.map) starts.push([index, token.map[0]]);
  }
  return starts;
}

function offsetOfLine(text, line) {
  let offset = 0;
  for (let n = 0; n < line; n += 1) offset = text.indexOf("\n", offset) + 1;
  return offset;
}

const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m; // a reference that may change links in blocks above it

// Renders a text that grows at its end. A block that another block follows can't change any more: it is rendered once and
// left alone, so the work per update is that of the last block, and what a reader has selected above it stays selected.
export class GrowingMarkdown {
  #env = {};
  #text = "";
  #done = 0; // up to here the text is rendered for good
  #tail = []; // the nodes that the next update replaces

  /**
   * @param {HTMLElement} container
   * @param {(fragment: DocumentFragment) => void} decorate may change new nodes before they are shown
   * @param {(nodes: DocumentFragment | HTMLElement) => void} finish is given nodes whose text does not change any more, maybe again
   */
  constructor(container, decorate = () => {}, finish = () => {}) {
    this.container = container;
    this.decorate = decorate;
    this.finish = finish;
  }

  update(text, whole = false) {
    if (!text.startsWith(this.#text) || (whole && DEFINITION.test(text))) this.#reset();
    else if (text === this.#text) {
      if (whole) this.finish(this.container);
      return;
    }
    this.#text = text;
    const rest = text.slice(this.#done).replace(/\r\n?/g, "\n");
    this.#env.growing = whole ? undefined : [];
    const tokens = md.parse(rest, this.#env);
    const { direction: side } = this.#env;
    if (side && this.container.dir !== side) this.container.dir = side; // each setting makes the browser look at all blocks
    const cut = whole ? null : this.#cut(rest, blocksOf(tokens));
    if (!cut && this.#growCode(tokens)) {
      if (whole) this.finish(this.container);
      return;
    }
    for (const node of this.#tail) node.remove();
    if (cut) {
      this.#append(tokens.slice(0, cut.index), true);
      this.#done = text.length - (rest.length - cut.offset);
    }
    this.#tail = this.#append(cut ? tokens.slice(cut.index) : tokens, whole);
  }

  #reset() {
    this.#env = {};
    this.#done = 0;
    this.#tail = [];
    this.container.replaceChildren();
  }

  // Where the blocks end that can't change any more. A block whose first line is not whole may still turn out to belong to
  // the one before ("#" starts a heading, "#tag" goes on with the paragraph), so then that one is kept back too.
  #cut(rest, blocks) {
    let last = blocks.length - 1;
    if (last >= 1 && rest.indexOf("\n", offsetOfLine(rest, blocks[last][1])) < 0) last -= 1;
    if (last < 1) return null;
    return { index: blocks[last][0], offset: offsetOfLine(rest, blocks[last][1]) };
  }

  #append(tokens, finished) {
    const fragment = toNodes(tokens, this.#env);
    this.decorate(fragment);
    if (finished) this.finish(fragment);
    const nodes = [...fragment.childNodes];
    this.container.append(fragment);
    return nodes;
  }

  // A code block that grows keeps its nodes, and with them its scroll position and a copy button under the pointer.
  #growCode(tokens) {
    const [token] = tokens;
    const code = this.#tail.length && this.container.lastElementChild?.querySelector?.("pre > code");
    if (tokens.length !== 1 || token.type !== "fence" || !code || this.#tailBlocks() !== 1) return false;
    if (!token.content.startsWith(code.textContent)) return false;
    code.textContent = token.content;
    return true;
  }

  #tailBlocks() {
    return this.#tail.filter((node) => node.nodeType === Node.ELEMENT_NODE).length;
  }
}
