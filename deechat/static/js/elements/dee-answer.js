// One answer: its parts in order, what the agent is doing, how it ended. Data down: `item`, then `refresh()` when it has
// changed. Events up: "dee-retry" {item}, "dee-continue" {item}, "dee-unfold" {item} when the answer comes into view.

import { announce, copyFrom, DeeElement, h, icon, iconButton } from "../core/dom.js";
import { isWaiting, textOf } from "../thread/transcript.js";
import { duration, errorText, errorTitle, statusWords, t } from "../core/words.js";
import "./dee-approval.js";
import "./dee-questions.js";
import "./dee-reasoning.js";
import "./dee-summary.js";
import "./dee-text.js";
import "./dee-tool.js";

// Kind of part → how its node is made. Each node has `show(part, context)`.
const PARTS = {
  text: () => document.createElement("dee-text"),
  reasoning: () => document.createElement("dee-reasoning"),
  tool: () => document.createElement("dee-tool"),
  approval: () => document.createElement("dee-approval"),
  questions: () => document.createElement("dee-questions"),
  summary: () => document.createElement("dee-summary"),
  notice: () => Object.assign(h("p", { class: "note" }), { show: showNotice }),
  steered: () => Object.assign(h("div", { class: "steered" }), { show: showSteered }),
};

const BEFORE = new Set(["reasoning", "summary", "notice"]); // parts that are nothing to go on from

function showNotice(part) {
  this.textContent = statusWords(part);
}

function showSteered(part, { waiting }) {
  const label = part.pending ? (waiting ? "steerKept" : "steerPending") : "steeredLabel";
  this.classList.toggle("pending", part.pending === true);
  this.replaceChildren(h("small", { text: t(label) }), h("p", { text: part.text, dir: "auto" }));
}

// Thoughts of nothing but white space are none.
function isShown({ kind, text }) {
  return kind !== "reasoning" || text.trim() !== "";
}

// What was said beside the run and does not stand in its frames yet, as parts.
function pendingParts(steers = []) {
  return steers.map(({ key, text }) => ({ kind: "steered", key, rev: 1, text, pending: true }));
}

// What a completed answer lacks → the words that say so.
const REMARKS = { length: "cutAtLimit", content_filter: "filteredAnswer", no_text: "noText" };

class DeeAnswer extends DeeElement {
  #item = null;
  #last = false;
  #frame = 0;
  #cost = 0; // milliseconds that the last drawing took
  #drawnAt = 0;
  #nodes = new Map(); // part key → { node, rev }
  #parts = h("div", { class: "parts" });
  #status = h("p", { class: "status" });
  #end = h("div", { class: "ending" });
  #foot = h("footer", { class: "answer-foot" });
  #footKey = "";

  connected(signal) {
    if (!this.firstChild) {
      const heading = h("h3", { class: "visually-hidden", text: t("assistant") });
      this.append(heading, this.#parts, this.#end, h("div", { class: "tail" }, this.#status, this.#foot));
    }
    const watcher = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.tell("dee-unfold", { item: this.#item });
    });
    watcher.observe(this);
    signal.addEventListener("abort", () => watcher.disconnect());
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
    this.#drawStatus();
    this.#drawEnd();
    this.#drawFoot();
    this.#drawnAt = performance.now();
    this.#cost = this.#drawnAt - began;
  }

  #drawParts(parts) {
    const { live, since, sent } = this.#item;
    // What comes right after joining a run is what was said before.
    const heard = live && (sent === true || (since !== null && performance.now() - since > 400));
    const waiting = isWaiting(this.#item.message);
    const keys = new Set(parts.map((part) => part.key));
    for (const [key, { node }] of this.#nodes) {
      if (keys.has(key)) continue;
      node.remove();
      this.#nodes.delete(key);
    }
    for (const [index, part] of parts.entries()) {
      const drawn = this.#nodes.get(part.key) ?? { node: PARTS[part.kind](), rev: -1 };
      this.#nodes.set(part.key, drawn);
      if (this.#parts.children[index] !== drawn.node) this.#parts.insertBefore(drawn.node, this.#parts.children[index] ?? null);
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

  #drawStatus() {
    const words = this.#doing();
    if (this.#status.textContent !== (words ?? "")) {
      this.#status.textContent = words ?? "";
      if (words) announce(words);
    }
    this.#status.hidden = words === null;
    this.#status.classList.toggle("lost", this.#item.link === "lost");
    this.#status.classList.toggle("waiting", isWaiting(this.#item.message));
    const { anew, parts } = this.#item.message;
    this.#status.classList.toggle("quiet", parts.at(-1)?.open === true && !anew && this.#item.link !== "lost");
  }

  #drawEnd() {
    const { ending } = this.#item.message;
    const fault = this.#item.fault;
    const { reason, code, error } = ending ?? (fault ? { reason: "failed", code: fault.code, error: fault.message } : {});
    const remark = this.#remark();
    const key = `${reason} ${code} ${error} ${remark}`;
    if (this.#end.dataset.key === key) return;
    this.#end.dataset.key = key;
    if (reason === "stopped") this.#end.replaceChildren(h("p", { class: "note", text: t("stopped") }));
    else if (reason && reason !== "completed") this.#end.replaceChildren(this.#failure(reason, code, error));
    else this.#end.replaceChildren(...(remark ? [h("p", { class: "note", text: t(remark) })] : []));
  }

  // The words for what a completed answer lacks.
  #remark() {
    const lacks = this.#item.message.ending?.lacks;
    if (lacks === "length" && this.#isEmpty()) return "cutBeforeText";
    return REMARKS[lacks] ?? null;
  }

  #isEmpty() {
    return !textOf(this.#item.message).trim();
  }

  #failure(reason, code, error) {
    const title = errorTitle(code ?? reason);
    const text = errorText(code, error);
    const words = h("div", {}, h("strong", { text: title }), text ? h("p", { text, dir: "auto" }) : null);
    return h("div", { class: "card failure", role: "group", "aria-label": title }, icon("alert"), words);
  }

  #drawFoot() {
    const { message, live, fault } = this.#item;
    const over = !live && (message.ending || fault);
    const { reason, lacks } = message.ending ?? {};
    const cut = lacks === "length" && !this.#isEmpty(); // all that it needs is to go on
    const again = over && this.#last && (reason !== "completed" || lacks) && !cut;
    const goOn = message.runId && ((again && this.#hasBegun()) || (over && this.#last && cut));
    const key = `${over ? 1 : 0}${again ? 1 : 0}${goOn ? 1 : 0}${message.model}${message.metrics?.duration}${textOf(message) ? 1 : 0}`;
    if (key === this.#footKey) return;
    this.#footKey = key;
    const buttons = [];
    if (over && textOf(message)) {
      const copy = iconButton("copy", t("copyAnswer"), () => copyFrom(copy, textOf(this.#item.message)));
      buttons.push(copy);
    }
    if (goOn) buttons.push(this.#button("goon", "continueAnswer", "dee-continue"));
    if (again) buttons.push(this.#button("again", "tryAgain", "dee-retry"));
    this.#foot.replaceChildren(...buttons, this.#facts(message));
  }

  // Whether there is something to go on from: what was said or done here, or in the answer that this one goes on from.
  #hasBegun() {
    const { parts, ending } = this.#item.message;
    const goesOn = this.previousElementSibling?.localName === this.localName;
    return goesOn || ending?.reason === "interrupted" || parts.some(({ kind }) => !BEFORE.has(kind));
  }

  #button(picture, words, event) {
    const button = h("button", { type: "button", class: "quiet-button" }, icon(picture), h("span", { text: t(words) }));
    button.addEventListener("click", () => this.tell(event, { item: this.#item }));
    return button;
  }

  // The model that answers, and how long it took.
  #facts({ model, metrics }) {
    const facts = h("span", { class: "facts" });
    if (model) facts.append(h("span", { text: model, class: "model-name", title: t("answeredBy", { model }) }));
    if (!metrics?.duration) return facts;
    const seconds = duration(metrics.duration);
    facts.append(h("span", { text: seconds }));
    const key = metrics.estimated ? "tokensEstimated" : "tokens";
    if (metrics.total_tokens) facts.title = t(key, { tokens: metrics.total_tokens, seconds });
    return facts;
  }
}

customElements.define("dee-answer", DeeAnswer);
