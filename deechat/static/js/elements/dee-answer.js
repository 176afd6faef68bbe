// One answer: its parts in order, what the agent is doing, how it ended. Data down: `item`, then `refresh()` when it has
// changed. Events up: "dee-retry" {item}, "dee-continue" {item}.

import { announce, copyFrom, DeeElement, h, html, icon, iconButton, nothing, place } from "../core/dom.js";
import { isWaiting, textOf } from "../thread/transcript.js";
import { duration, errorText, errorTitle, statusWords, t } from "../core/words.js";
import { DeeApproval } from "./dee-approval.js";
import { DeeQuestions } from "./dee-questions.js";
import { DeeReasoning } from "./dee-reasoning.js";
import { DeeSummary } from "./dee-summary.js";
import { DeeText } from "./dee-text.js";
import { DeeTool } from "./dee-tool.js";

// Kind of part → how its node is made. Each node has `show(part, context)`.
const PARTS = {
  text: () => new DeeText(),
  reasoning: () => new DeeReasoning(),
  tool: () => new DeeTool(),
  approval: () => new DeeApproval(),
  questions: () => new DeeQuestions(),
  summary: () => new DeeSummary(),
  notice: () => Object.assign(h("p", { class: "note" }), { show: showNotice }),
  steered: () => Object.assign(h("div", { class: "steered" }), { show: showSteered }),
};

const BEFORE = new Set(["reasoning", "summary", "notice"]); // parts that are nothing to go on from

/** @this {HTMLElement} */
function showNotice(part) {
  this.textContent = statusWords(part);
}

/** @this {HTMLElement} */
function showSteered(part, { waiting }) {
  const label = part.pending ? (waiting ? "steerKept" : "steerPending") : "steeredLabel";
  this.classList.toggle("pending", part.pending === true);
  this.replaceChildren(h("small", { text: t(label) }), h("p", { text: part.text, dir: "auto" }));
}

// Thoughts of nothing but white space are none.
function isShown(part) {
  return part.kind !== "reasoning" || part.text.trim() !== "";
}

// What was said beside the run and does not stand in its frames yet, as parts.
function pendingParts(steers = []) {
  return steers.map(({ key, text }) => ({ kind: "steered", key, rev: 1, text, pending: true }));
}

// What a completed answer lacks → the words that say so.
const REMARKS = { length: "cutAtLimit", content_filter: "filteredAnswer", no_text: "noText" };

export class DeeAnswer extends DeeElement {
  /** @type {import("../thread/record.js").Item} */
  #item = /** @type {any} */ (null); // set before it is connected
  #last = false;
  #frame = 0;
  #cost = 0; // milliseconds that the last drawing took
  #drawnAt = 0;
  #nodes = new Map(); // part key → { node, rev }
  #parts = h("div", { class: "parts" });
  #said = ""; // what was announced last

  connected() {
    this.#draw();
  }

  disconnected() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  get item() {
    return this.#item;
  }

  set item(item) {
    this.#item = item;
    this.refresh();
  }

  // Only the last answer can be tried again.
  set last(last) {
    this.#last = last;
    this.refresh();
  }

  // Draws at most once per frame, and seldom enough that drawing takes a fifth of the time at most.
  refresh() {
    if (this.#frame || !this.isConnected) return;
    this.#frame = requestAnimationFrame((now) => {
      this.#frame = 0;
      if (this.#item.live && now - this.#drawnAt < this.#cost * 4) return this.refresh();
      this.#draw();
    });
  }

  #draw() {
    const began = performance.now();
    const { message, live } = this.#item;
    this.toggleAttribute("live", live);
    this.setAttribute("aria-busy", String(live));
    this.#drawParts([...message.parts.filter(isShown), ...pendingParts(this.#item.steers)]);
    this.draw(html`
      <h3 class="visually-hidden">${t("assistant")}</h3>
      ${this.#parts}
      <div class="ending">${this.#ending()}</div>
      <div class="tail">${this.#status()}<footer class="answer-foot">${this.#foot()}</footer></div>
    `);
    this.#drawnAt = performance.now();
    this.#cost = this.#drawnAt - began;
  }

  #drawParts(parts) {
    const { live, since, sent } = this.#item;
    // What comes right after joining a run is what was said before.
    const heard = live && (sent === true || (since !== null && performance.now() - since > 400));
    const waiting = isWaiting(this.#item.message);
    const keys = new Set(parts.map((part) => part.key));
    for (const key of [...this.#nodes.keys()]) if (!keys.has(key)) this.#nodes.delete(key);
    for (const { key, kind } of parts) if (!this.#nodes.has(key)) this.#nodes.set(key, { node: PARTS[kind](), rev: "" });
    place(this.#parts, parts.map(({ key }) => this.#nodes.get(key).node));
    for (const part of parts) {
      const drawn = this.#nodes.get(part.key);
      const reply = this.#item.replies?.[part.requestId];
      const state = `${part.rev} ${live} ${reply?.rev} ${part.pending && waiting}`;
      if (drawn.rev === state) continue;
      drawn.rev = state;
      drawn.node.show(part, { live, heard, waiting, reply });
    }
  }

  #doing() {
    const { live, link, message } = this.#item;
    if (!live) return null;
    if (link === "lost") return t("reconnecting");
    if (isWaiting(message)) return t("waitingForYou");
    if (message.anew) return t("stepAnew");
    const part = message.parts.at(-1);
    if (part?.kind === "text" && part.open) return t("writing");
    if (part?.kind === "reasoning" && part.open) return t("thinkingNow");
    if (message.status) return statusWords(message.status);
    return t(message.seq ? "working" : "connecting");
  }

  #status() {
    const { link, message } = this.#item;
    const words = this.#doing() ?? "";
    if (words && words !== this.#said) announce(words);
    this.#said = words;
    const quiet = message.parts.at(-1)?.open === true && !message.anew && link !== "lost";
    const kinds = [link === "lost" && "lost", isWaiting(message) && "waiting", quiet && "quiet"].filter(Boolean);
    return html`<p class="status ${kinds.join(" ")}" ?hidden=${!words}>${words}</p>`;
  }

  #ending() {
    const { message, fault } = this.#item;
    const { reason, code, error } = message.ending ?? (fault ? { reason: "failed", code: fault.code, error: fault.message } : {});
    const failed = reason && reason !== "completed" && reason !== "stopped";
    if (failed) return failure(errorTitle(code ?? reason), errorText(code, error));
    const note = reason === "stopped" ? "stopped" : this.#remark();
    return note ? html`<p class="note">${t(note)}</p>` : nothing;
  }

  // The words for what a completed answer lacks.
  #remark() {
    const lacks = this.#item.message.ending?.lacks ?? "";
    if (lacks === "length" && this.#isEmpty()) return "cutBeforeText";
    return REMARKS[lacks] ?? null;
  }

  #isEmpty() {
    return !textOf(this.#item.message).trim();
  }

  #foot() {
    const { message, live, fault } = this.#item;
    const over = !live && (message.ending || fault);
    const { reason, lacks } = message.ending ?? {};
    const cut = lacks === "length" && !this.#isEmpty(); // all that it needs is to go on
    const again = over && this.#last && (reason !== "completed" || lacks) && !cut;
    const goOn = message.runId && ((again && this.#hasBegun()) || (over && this.#last && cut));
    const copy = (event) => copyFrom(event, textOf(this.#item.message));
    return html`${over && textOf(message) ? iconButton("copy", t("copyAnswer"), copy) : nothing}${
      goOn ? this.#button("goon", "continueAnswer", "dee-continue") : nothing
    }${again ? this.#button("again", "tryAgain", "dee-retry") : nothing}${facts(message)}`;
  }

  // Whether there is something to go on from: what was said or done here, or in the answer that this one goes on from.
  #hasBegun() {
    const { parts, ending } = this.#item.message;
    const goesOn = this.previousElementSibling?.localName === this.localName;
    return goesOn || ending?.reason === "interrupted" || parts.some(({ kind }) => !BEFORE.has(kind));
  }

  #button(picture, words, event) {
    const tell = () => this.tell(event, { item: this.#item });
    return html`<button type="button" class="quiet-button" @click=${tell}>${icon(picture)}<span>${t(words)}</span></button>`;
  }
}

const failure = (title, text) => html`<div class="card failure" role="group" aria-label=${title}>
  ${icon("alert")}
  <div><strong>${title}</strong>${text ? html`<p dir="auto">${text}</p>` : nothing}</div>
</div>`;

// The model that answers, and how long it took.
function facts({ model, metrics }) {
  const name = model ? html`<span class="model-name" title=${t("answeredBy", { model })}>${model}</span>` : nothing;
  if (!metrics?.duration) return html`<span class="facts">${name}</span>`;
  const seconds = duration(metrics.duration);
  const tokens = metrics.total_tokens;
  const title = tokens ? t(metrics.estimated ? "tokensEstimated" : "tokens", { tokens, seconds }) : nothing;
  return html`<span class="facts" title=${title}>${name}<span>${seconds}</span></span>`;
}

customElements.define("dee-answer", DeeAnswer);
