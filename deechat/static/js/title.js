// The tab's title: the thread's name, and what its answer is doing while somebody looks elsewhere.

import { t } from "./words.js";

let name = null;
let mark = "";

function show() {
  document.title = `${mark}${name ? `${name} · ` : ""}${t("appName")}`;
}

export function titleName(threadName) {
  name = threadName;
  show();
}

export function titleRunning(running) {
  if (running) mark = "… ";
  else if (mark === "… ") mark = "";
  show();
}

// `told`: the person saw it happen, or it did not happen at all, so there is nothing to tell.
export function titleDone({ told }) {
  mark = told || document.visibilityState === "visible" ? "" : "✓ ";
  show();
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible" || mark !== "✓ ") return;
  mark = "";
  show();
});
