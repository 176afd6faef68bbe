// The words of the page in the person's language: strings filled. The server puts them into the page, from `locale/`.

/** @typedef {typeof import("../../../locale/en.json")} Catalogue */
/** @typedef {keyof Catalogue["page"] | Extract<keyof Catalogue["agent"], `status.${string}` | `habit.${string}`>} Key */

/** @type {Record<Key, string>} */
const WORDS = JSON.parse(/** @type {any} */ (document.getElementById("words")).content.textContent);
const language = document.documentElement.lang;

/**
 * Gives the words of a key, filled; an unknown key is a mistake of ours and gives the key itself.
 * @param {Key} key
 * @param {Record<string, any>} params
 */
export function t(key, params = {}) {
  const words = WORDS[key] ?? key;
  return words.replace(/\{(\w+)\}/g, (whole, name) => (params[name] ?? whole).toString());
}

/**
 * @param {string} key
 * @returns {key is Key}
 */
function knows(key) {
  return Object.hasOwn(WORDS, key);
}

// A status in the page's language where its code is known, else in the server's words.
export function statusWords({ code, params, text }) {
  const key = `status.${code}`;
  return code && knows(key) ? t(key, params ?? {}) : text;
}

// A habit of a model likewise; one of a single field has its name behind the code.
export function habitWords({ code, params, text }) {
  const key = `habit.${code.split(":")[0]}`;
  return knows(key) ? t(key, params) : text;
}

// A moment in Unix seconds as a clock on the wall has it: 10:42.
export function timeOfDay(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

// A tool's word for its scope in the page's language where it is known, else as the tool has it.
export function scopeWord(word) {
  const key = `scope.${word}`;
  return knows(key) ? t(key) : word;
}

export function errorTitle(code) {
  const key = `error.${code}`;
  return t(code && knows(key) ? key : "error.failed");
}

// What there is to say below the title: the server's own words, unless the page has better ones in its language.
export function errorText(code, words) {
  return code === "interrupted" ? t("interruptedText") : words;
}

// Seconds as a person reads them: 340 ms, 2.4 s, 17 s.
export function duration(seconds) {
  if (seconds < 0.9995) return t("milliseconds", { n: Math.max(1, Math.round(seconds * 1000)) });
  return t("seconds", { n: seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds) });
}
