// One call of a tool: its name, what it was given, how far it is, what it gave, how long it took. Data down:
// `show(part, { heard })`; `heard` says that the page saw the part happen.

import { announce, DeeElement, html, icon } from "../core/dom.js";
import { duration, t } from "../core/words.js";

const STATE_ICON = { running: "spinner", done: "check", error: "alert", void: "dash" };

// The arguments on one line, as a hint in the folded card.
function brief(values) {
  const words = Object.values(values ?? {}).map((value) => (typeof value === "string" ? value : JSON.stringify(value)));
  return words.join(", ").replace(/\s+/g, " ").slice(0, 200);
}

function stateWords({ state, seconds }) {
  const took = typeof seconds === "number" && state !== "running" ? duration(seconds) : "";
  if (state === "error") return took ? `${t("toolError")} · ${took}` : t("toolError");
  return { running: t("toolRunning"), void: t("toolCancelled") }[state] ?? took;
}

// A link to another site, in a tab of its own; what is no web address is words alone.
function linkTo(url, title) {
  const words = title || url;
  if (!/^https?:\/\//i.test(url)) return html`<span dir="auto">${words}</span>`;
  return html`<a href=${url} title=${url} target="_blank" rel="noopener noreferrer" dir="auto">${words}</a>`;
}

/**
 * Kind of part → how it is shown; kinds that are not among these are not shown yet.
 * @type {Record<string, (part: any) => any>}
 */
const PARTS = { link: ({ url, title }) => linkTo(url, title) };

function list(words, items) {
  return items.length ? html`<h4>${t(words)}</h4><ul class="tool-links">${items.map((item) => html`<li>${item}</li>`)}</ul>` : "";
}

export class DeeTool extends DeeElement {
  #said = "";

  show(part, { heard }) {
    const given = Object.keys(part.arguments ?? {}).length > 0;
    const result = part.content ?? (part.state === "running" ? "…" : t("toolNoResult"));
    this.dataset.state = part.state;
    this.draw(html`<details class="card tool">
      <summary
        ><span class="tool-icon">${icon(STATE_ICON[part.state])}</span
        ><span class="tool-name">${part.name}</span
        ><span class="tool-brief" dir="auto">${brief(part.arguments)}</span
        ><span class="tool-state">${stateWords(part)}</span
        >${icon("chevron")}</summary
      ><div class="tool-body">
        <h4>${t("toolArguments")}</h4>
        <pre tabindex="0" dir="ltr">${given ? JSON.stringify(part.arguments, null, 2) : t("toolNoArguments")}</pre>
        <h4>${t("toolResult")}</h4>
        <pre tabindex="0" dir="auto">${result}</pre>
        ${list("toolSources", part.sources.map(({ chunkSource, title }) => linkTo(chunkSource, title)))}
        ${list("toolParts", part.parts.filter(({ kind }) => PARTS[kind]).map((each) => PARTS[each.kind](each)))}
      </div>
    </details>${part.state === "running" && part.progress ? this.#progress(part, heard) : ""}`);
  }

  // To a screen reader an answer that is being made is busy, so a new line is said in the page's own live region.
  #progress({ name, progress: { text, share } }, heard) {
    if (heard && text && text !== this.#said) announce(text);
    this.#said = text;
    const bar = html`<progress max="1" value=${share} aria-label=${name}></progress>`;
    return html`<div class="tool-progress"><span dir="auto">${text}</span>${share === null ? "" : bar}</div>`;
  }
}

customElements.define("dee-tool", DeeTool);
