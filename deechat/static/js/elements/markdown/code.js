// The frame of a code block: a head that stays in sight, with the language, and buttons to copy, to wrap and to download.

import { copyFrom, h, html, icon, iconButton } from "../../core/dom.js";
import { t } from "../../core/words.js";
import { endingOf } from "./languages.js";

function save(text, name) {
  const href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // a browser may ask the person first
}

function wrapButton(pre) {
  const wrap = ({ currentTarget: button }) => {
    button.setAttribute("aria-pressed", String(pre.classList.toggle("wrapped")));
  };
  return html`<button
    type="button" class="icon-button" title=${t("wrapCode")} aria-label=${t("wrapCode")} aria-pressed="false"
    @click=${wrap}>${icon("wrap")}</button>`;
}

export const nameOf = (pre) => /language-(\S+)/.exec(pre.querySelector("code")?.className ?? "")?.[1];

export function frameCode(pre) {
  const language = nameOf(pre);
  const words = () => pre.textContent.replace(/\n$/, "");
  const copy = iconButton("copy", t("copyCode"), (event) => copyFrom(event, words()));
  const download = iconButton("download", t("downloadCode"), () => save(pre.textContent, `code.${endingOf(language)}`));
  const name = h("span", { class: "code-name", text: language ?? t("code") });
  const box = h("div", { class: "code-block", dir: "ltr" }, h("div", { class: "code-head" }, name, wrapButton(pre), download, copy));
  pre.tabIndex = 0;
  pre.replaceWith(box);
  box.append(pre);
}
