// Finds the colours of code with highlight.js, in a worker, so that no code is long enough to hold up the page. It is given
// `{language, code}` and answers `{pieces}`, or `{failed}` when a file did not come. The only user of highlight.js.

const FOLDER = new URL("../../vendor/highlight/", import.meta.url);

// Language → those that may stand in it.
const INSIDE = { xml: ["css", "javascript"], javascript: ["xml", "css"], typescript: ["xml", "css"] };

// Scope of highlight.js → the page's kind. What is in none has the colour of the code around it.
const KINDS = {
  keyword: "keyword", literal: "keyword", "variable.language": "keyword", "selector-tag": "keyword", name: "keyword", tag: "plain",
  string: "string", regexp: "string", "char.escape": "string", link: "string", code: "string", subst: "plain",
  number: "number", symbol: "number", bullet: "number", operator: "plain", punctuation: "plain",
  comment: "comment", quote: "comment", doctag: "comment",
  title: "title", section: "title", attr: "title", attribute: "title", property: "title", "selector-class": "title", "selector-id": "title",
  type: "type", built_in: "type", meta: "type", variable: "type", "template-variable": "type", "selector-attr": "type",
  "selector-pseudo": "type",
};

const kindOf = (scope = "") => KINDS[scope] ?? KINDS[scope.split(".")[0]] ?? null;

/** @type {any} */
let core = null;
const loaded = new Map(); // language → when its grammar is there

async function fetchGrammar(language) {
  const grammar = await import(new URL(`${language}.js`, FOLDER).href);
  core.registerLanguage(language, grammar.default);
}

async function prepare(language) {
  core ??= (await import(new URL("core.js", FOLDER).href)).default;
  const wanted = [language, ...(INSIDE[language] ?? [])];
  for (const each of wanted) if (!loaded.has(each)) loaded.set(each, fetchGrammar(each));
  await Promise.all(wanted.map((each) => loaded.get(each)));
}

// The pieces of the code in order, as a flat list: length, kind, length, kind. Neighbours of one kind are one piece.
function piecesOf(tree) {
  const pieces = [];
  const add = (text, kind) => {
    if (pieces.at(-1) === kind) pieces[pieces.length - 2] += text.length;
    else if (text) pieces.push(text.length, kind);
  };
  const walk = (node, kind) => {
    for (const child of node.children) {
      if (typeof child === "string") add(child, kind);
      else walk(child, kindOf(child.scope) ?? kind);
    }
  };
  walk(tree, "plain");
  return pieces;
}

async function find({ language, code }) {
  try {
    await prepare(language);
  } catch {
    return { failed: true };
  }
  const { _emitter: found } = core.highlight(code, { language, ignoreIllegals: true });
  return { pieces: piecesOf(found.rootNode) };
}

addEventListener("message", async ({ data }) => postMessage(await find(data)));
