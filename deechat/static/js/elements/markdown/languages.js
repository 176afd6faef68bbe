// The programming languages that the page knows: their names in answers, and the ending of their files.

// Language of highlight.js → the ending of its files, and its other names.
const LANGUAGES = {
  bash: ["sh", "shell", "sh", "zsh", "console"],
  cpp: ["cpp", "c++", "cc", "cxx", "hpp"],
  css: ["css"],
  go: ["go", "golang"],
  java: ["java"],
  javascript: ["js", "js", "jsx", "mjs", "cjs"],
  json: ["json", "jsonc", "json5"],
  python: ["py", "py", "python3"],
  rust: ["rs", "rs"],
  sql: ["sql", "sqlite", "postgresql", "mysql"],
  typescript: ["ts", "ts", "tsx", "mts", "cts"],
  xml: ["xml", "svg", "xhtml", "rss"],
  yaml: ["yaml", "yml"],
};

// Name → language, where the files of the name end in another way than those of its language.
const NAMED = { c: ["cpp", "c"], h: ["cpp", "h"], html: ["xml", "html"] };

const known = new Map(Object.entries(NAMED));
for (const [language, [ending, ...others]] of Object.entries(LANGUAGES)) {
  for (const name of [language, ...others]) known.set(name, [language, ending]);
}

// The language of highlight.js for a name, undefined where it is not known.
export const languageOf = (name) => known.get(name?.toLowerCase())?.[0];

export const endingOf = (name) => known.get(name?.toLowerCase())?.[1] ?? "txt";
