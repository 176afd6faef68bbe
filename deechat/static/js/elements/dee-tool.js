// One call of a tool: its name, what it was given, how far it is, what it gave, how long it took. Data down:
// `show(part, { heard })`; `heard` says that the page saw the part happen. Events up: "dee-result" {part} when a card is
// opened that lacks a part of its result.

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

// A picture that the part holds itself. One of another host is not loaded, it would learn who looks.
function image({ url, title }) {
  const words = title || t("toolImage");
  if (!/^data:image\//i.test(url)) return linkTo(url.startsWith("data:") ? "" : url, words);
  return html`<img src=${url} alt=${words} loading="lazy" />${title ? html`<figcaption dir="auto">${title}</figcaption>` : ""}`;
}

function table({ head, rows, title }) {
  const cells = (row) => row.map((cell) => html`<td dir="auto">${cell}</td>`);
  return html`<div class="table-box" tabindex="0"><table>
    ${title ? html`<caption dir="auto">${title}</caption>` : ""}
    <thead><tr>${head.map((cell) => html`<th scope="col" dir="auto">${cell}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${cells(row)}</tr>`)}</tbody>
  </table></div>`;
}

/**
 * Kind of part → how it is shown below the links; other kinds are not shown yet.
 * @type {Record<string, (part: any) => any>}
 */
const FIGURES = { image, table };

function list(words, items) {
  return items.length ? html`<h4>${t(words)}</h4><ul class="tool-links">${items.map((item) => html`<li>${item}</li>`)}</ul>` : "";
}

export class DeeTool extends DeeElement {
  #said = "";

  show(part, { heard }) {
    const given = Object.keys(part.arguments ?? {}).length > 0;
    const result = part.content ?? (part.state === "running" ? "…" : t("toolNoResult"));
    this.dataset.state = part.state;
    const links = part.parts.filter(({ kind }) => kind === "link");
    const figures = part.parts.filter(({ kind }) => FIGURES[kind]);
    this.draw(html`<details class="card tool" @toggle=${({ target }) => target.open && part.cut && this.tell("dee-result", { part })}>
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
        ${list("toolParts", links.map(({ url, title }) => linkTo(url, title)))}
        ${figures.map((each) => html`<figure>${FIGURES[each.kind](each)}</figure>`)}
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
