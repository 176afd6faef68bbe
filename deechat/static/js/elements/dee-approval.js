// A tool that needs a person's yes: what it is, what it will do with which arguments, and what may be said to that. Data
// down: `show(part, { reply })`. Events up: "dee-respond" {requestId, body}, "dee-card-done" when the focus was in a card
// that closed.

import { BUSY, button, cardHead, Fields, isDone, pairs, readable, replyWords } from "./cards.js";
import { DeeElement, h, html, icon, nothing } from "../core/dom.js";
import { readCard, writeCard } from "../core/memory.js";
import { scopes } from "../thread/scopes.js";
import { scopeWord, t } from "../core/words.js";

const FETCH = "web_fetch"; // the one tool whose scope can be read off its arguments here

// What "always" allows, in words; "" while it is not known.
function alwaysWords(name, values) {
  const scope = scopes.of(name);
  if (scope === null) return t("alwaysTool", { name });
  try {
    if (name === FETCH) return t("alwaysHost", { host: new URL(values.url).hostname });
  } catch {
    // then the server says what is wrong with the address
  }
  return scope === undefined ? "" : t("alwaysScope", { name, scope: scopeWord(scope) });
}

function argumentsOf(text) {
  const value = JSON.parse(text);
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error(t("argumentsObject"));
  return value;
}

const readablePairs = (values) => pairs(Object.entries(values).map(([name, value]) => [name, readable(value)]), "mono");

export class DeeApproval extends DeeElement {
  /** @type {any} */
  #part = null;
  #state = "open"; // of the reply
  #written = ""; // the arguments as they stand in the editor at first
  #fault = "";
  /** @type {Fields | null} */
  #fields = null;
  #editor = h("textarea", { class: "json", rows: 6, spellcheck: false, dir: "ltr", "aria-label": t("toolArguments") });

  connected(signal) {
    scopes.addEventListener("change", () => this.#fields && this.#draw(), { signal });
  }

  show(part, { reply } = /** @type {any} */ ({})) {
    this.#part = part;
    this.dataset.state = part.state;
    if (part.state !== "open") return this.#close(part);
    this.#state = reply?.state ?? "open";
    if (reply?.error) this.#fault = reply.error;
    const fields = (this.#fields ??= this.#open());
    this.#draw();
    fields.busy = BUSY.includes(this.#state);
  }

  #open() {
    this.#written = JSON.stringify(this.#part.arguments ?? {}, null, 2);
    const draft = readCard(this.#part.requestId);
    this.#editor.value = draft ?? this.#written;
    this.#editor.hidden = draft === null;
    this.#editor.addEventListener("input", () => this.#changed());
    this.#draw();
    return new Fields(this.querySelector("fieldset"));
  }

  #draw() {
    const { name, text } = this.#part;
    const editing = !this.#editor.hidden;
    const values = this.#read() ?? this.#part.arguments ?? {};
    const words = t("approvalOpen", { name });
    this.draw(html`<div class="card request" @keydown=${(event) => isDone(event) && this.#answer(true)}>
      ${cardHead("hand", words)}
      <fieldset class="plain" aria-label=${words}>
        ${text ? html`<p class="request-text" dir="auto" ?hidden=${editing}>${text}</p>` : nothing}
        <div class="arguments">
          <div ?hidden=${editing}>${readablePairs(values) || html`<p class="hint">${t("toolNoArguments")}</p>`}</div>
          ${this.#editor}
          <button type="button" class="quiet-button" @click=${() => this.#toggle()}>${t(editing ? "editDiscard" : "editArguments")}</button>
        </div>
        <p class="field-error" role="alert">${this.#fault}</p>
        <div class="request-foot">
          ${button(t(this.#isChanged() ? "allowChanged" : "allow"), "primary", () => this.#answer(true))}
          ${button(t("allowAlways"), "", () => this.#answer(true, { always: true }))}
          ${button(t("refuse"), "refuse", () => this.#answer(false))}
          <span class="reply-state">${replyWords(this.#state)}</span>
        </div>
        <p class="hint" ?hidden=${this.#fault !== ""}>${alwaysWords(name, values)}</p>
      </fieldset>
    </div>`);
  }

  #toggle() {
    this.#editor.hidden = !this.#editor.hidden;
    if (this.#editor.hidden) this.#editor.value = this.#written;
    this.#changed();
    if (!this.#editor.hidden) this.#editor.focus();
  }

  // A fault, or "". What was refused can't be allowed for good either.
  #say(fault) {
    this.#fault = fault;
    this.#draw();
  }

  #changed() {
    writeCard(this.#part.requestId, this.#editor.hidden ? null : this.#editor.value);
    this.#say("");
  }

  #isChanged() {
    return !this.#editor.hidden && this.#editor.value !== this.#written;
  }

  // The arguments as they are written; null when they can't be read, which `loud` says at the card.
  #read(loud = false) {
    try {
      return argumentsOf(this.#editor.value);
    } catch (error) {
      if (loud) this.#say(t("argumentsWrong", { why: error.message }));
      return null;
    }
  }

  #answer(approved, more = {}) {
    if (!this.#fields || this.#fields.busy) return;
    /** @type {any} */
    const body = { approved, ...more };
    if (approved && this.#isChanged()) {
      body.arguments = this.#read(true);
      if (body.arguments === null) return this.#editor.focus();
    }
    this.#say("");
    this.#fields.busy = true; // a second click comes before the next drawing
    this.tell("dee-respond", { requestId: this.#part.requestId, body });
  }

  #close({ state, name, approved, summary, requestId, arguments: values }) {
    const hadFocus = this.#fields?.hadFocus ?? false;
    writeCard(requestId, null);
    this.#fields = null;
    const answered = state === "answered";
    const words = answered ? t(approved ? "approvalYes" : "approvalNo", { name }) : t("approvalVoid", { name });
    const head = summary
      ? html`<strong class="tool-name">${name}</strong><span class="request-summary" dir="auto">${summary}</span>`
      : html`<strong>${words}</strong>`;
    this.draw(html`<div class="card request done">
      <p class="request-head">${icon(answered && approved ? "check" : "dash")}${head}</p>
      ${approved ? nothing : readablePairs(values ?? {})}
    </div>`);
    if (hadFocus) this.tell("dee-card-done");
  }
}

customElements.define("dee-approval", DeeApproval);
