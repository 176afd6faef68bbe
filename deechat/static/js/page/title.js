// The tab's title: the thread's name, and what its answer is doing while somebody looks elsewhere.

import { t } from "../core/words.js";

const RUNNING = "… ";
const DONE = "✓ ";

let name = null;
let mark = "";

function show() {
  document.title = `${mark}${name ? `${name} · ` : ""}${t("appName")}`;
}

export function titleName(threadName) {
  name = threadName;
  show();
}

// What the answer does: null, "running", or "waiting" for the person.
export function titleDoing(doing) {
  if (doing) mark = doing === "waiting" ? `${t("titleWaiting")} · ` : RUNNING;
  else if (mark !== DONE) mark = "";
  show();
}

// `told`: the person saw it happen, or it did not happen at all, so there is nothing to tell.
export function titleDone({ told }) {
  mark = told || document.visibilityState === "visible" ? "" : DONE;
  show();
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible" || mark !== DONE) return;
  mark = "";
  show();
});
