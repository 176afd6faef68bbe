// The answer's text: Markdown that grows. Data down: `show(part)`.

import { h } from "../core/dom.js";
import { frameCode } from "./markdown/code.js";
import { colour } from "./markdown/colours.js";
import { GrowingMarkdown } from "./markdown/markdown.js";
import { typeset } from "./markdown/typeset.js";

// A code block gets its head; a wide table gets a box to scroll in. What scrolls sideways can have the focus, so that keys
// reach it.
function decorate(fragment) {
  typeset(fragment);
  for (const pre of fragment.querySelectorAll("pre")) frameCode(pre);
  for (const table of fragment.querySelectorAll("table")) {
    const box = h("div", { class: "table-box", tabIndex: 0, dir: table.dir || null }); // it begins where the table does;
    table.replaceWith(box);
    box.append(table);
  }
}

export class DeeText extends HTMLElement {
  #markdown = new GrowingMarkdown(this, decorate, colour);

  show(part) {
    this.#markdown.update(part.text, !part.open);
  }
}

customElements.define("dee-text", DeeText);
