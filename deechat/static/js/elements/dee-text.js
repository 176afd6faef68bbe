// The answer's text: Markdown that grows. Data down: `show(part)`.

import { copyFrom, h, iconButton } from "../core/dom.js";
import { GrowingMarkdown } from "./markdown/markdown.js";
import { typeset } from "./markdown/typeset.js";
import { t } from "../core/words.js";

// A code block gets a head with its language and a copy button; a wide table gets a box to scroll in. What scrolls sideways
// can have the focus, so that keys reach it.
function decorate(fragment) {
  typeset(fragment);
  for (const pre of fragment.querySelectorAll("pre")) frameCode(pre);
  for (const table of fragment.querySelectorAll("table")) {
    const box = h("div", { class: "table-box", tabIndex: 0, dir: table.dir || null }); // it begins where the table does;
    table.replaceWith(box);
    box.append(table);
  }
}

function frameCode(pre) {
  const language = /language-(\S+)/.exec(pre.querySelector("code")?.className ?? "")?.[1];
  const copy = iconButton("copy", t("copyCode"), (event) => copyFrom(event, pre.textContent.replace(/\n$/, "")));
  const box = h("div", { class: "code-block", dir: "ltr" }, h("div", { class: "code-head" }, h("span", { text: language ?? t("code") }), copy));
  pre.tabIndex = 0;
  pre.replaceWith(box);
  box.append(pre);
}

export class DeeText extends HTMLElement {
  #markdown = new GrowingMarkdown(this, decorate);

  show(part) {
    this.#markdown.update(part.text, !part.open);
  }
}

customElements.define("dee-text", DeeText);
