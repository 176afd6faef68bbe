// A tool that needs a person's yes: what it is, what it will do with which arguments, and what may be said to that. Data
// down: `show(part, { reply })`. Events up: "dee-respond" {requestId, body}, "dee-card-done" when the focus was in a card
// that closed.

import { BUSY, button, cardHead, Fields, isDone, pairs, readable, replyWords } from "./cards.js";
import { DeeElement, h } from "../core/dom.js";
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

class DeeApproval extends DeeElement {
  #part = null;
  #written = ""; // the arguments as they stand in the editor at first
  #fields = null;
  #editor = h("textarea", { class: "json", rows: 6, spellcheck: false, dir: "ltr", "aria-label": t("toolArguments") });
  #effect = h("p", { class: "request-text", dir: "auto" }); // what the arguments that were asked for will do
  #given = h("div", {});
  #edit = h("button", { type: "button", class: "quiet-button" });
  #fault = h("p", { class: "field-error", role: "alert" });
  #state = h("span", { class: "reply-state" });
  #always = h("p", { class: "hint" });
  #allow = button(t("allow"), "primary", () => this.#answer(true));

  connected(signal) {
    scopes.addEventListener("change", () => this.#fields && this.#drawArguments(), { signal });
  }

  show(part, { reply } = {}) {
    this.#part = part;
    this.dataset.state = part.state;
    if (part.state !== "open") return this.#close(part);
    if (!this.#fields) this.#open();
    const state = reply?.state ?? "open";
    this.#fields.busy = BUSY.includes(state);
    this.#state.textContent = replyWords(state);
    if (reply?.error) this.#say(reply.error);
  }

  #open() {
    const { name, text, requestId } = this.#part;
    this.#written = JSON.stringify(this.#part.arguments ?? {}, null, 2);
    const draft = readCard(requestId);
    this.#editor.value = draft ?? this.#written;
    this.#editor.hidden = draft === null;
    this.#editor.addEventListener("input", () => this.#changed());
    this.#edit.addEventListener("click", () => this.#toggle());
    this.#effect.textContent = text;
    const buttons = [
      this.#allow,
      button(t("allowAlways"), "", () => this.#answer(true, { always: true })),
      button(t("refuse"), "refuse", () => this.#answer(false)),
    ];
    const fields = h(
      "fieldset",
      { class: "plain", "aria-label": t("approvalOpen", { name }) },
      text ? this.#effect : null,
      h("div", { class: "arguments" }, this.#given, this.#editor, this.#edit),
      this.#fault,
      h("div", { class: "request-foot" }, ...buttons, this.#state),
      this.#always,
    );
    const card = h("div", { class: "card request" }, cardHead("hand", t("approvalOpen", { name })), fields);
    this.#fields = new Fields(fields);
    card.addEventListener("keydown", (event) => isDone(event) && this.#answer(true));
    this.replaceChildren(card);
    this.#drawArguments();
  }

  #toggle() {
    this.#editor.hidden = !this.#editor.hidden;
    if (this.#editor.hidden) this.#editor.value = this.#written;
    this.#changed();
    if (!this.#editor.hidden) this.#editor.focus();
  }

  // A fault, or "". What was refused can't be allowed for good either.
  #say(fault) {
    this.#fault.textContent = fault;
    this.#always.hidden = fault !== "";
  }

  #changed() {
    this.#say("");
    writeCard(this.#part.requestId, this.#editor.hidden ? null : this.#editor.value);
    this.#drawArguments();
  }

  #drawArguments() {
    const editing = !this.#editor.hidden;
    const values = this.#read(false) ?? this.#part.arguments ?? {};
    const entries = Object.entries(values).map(([name, value]) => [name, readable(value)]);
    this.#given.replaceChildren(entries.length ? pairs(entries, "mono") : h("p", { class: "hint", text: t("toolNoArguments") }));
    this.#given.hidden = editing;
    this.#effect.hidden = editing;
    this.#edit.textContent = t(editing ? "editDiscard" : "editArguments");
    this.#allow.textContent = t(this.#isChanged() ? "allowChanged" : "allow");
    this.#always.textContent = alwaysWords(this.#part.name, values);
  }

  #isChanged() {
    return !this.#editor.hidden && this.#editor.value !== this.#written;
  }

  // The arguments as they are written; null when they can't be read, which `loud` says at the card.
  #read(loud) {
    try {
      return argumentsOf(this.#editor.value);
    } catch (error) {
      if (loud) this.#say(t("argumentsWrong", { why: error.message }));
      return null;
    }
  }

  #answer(approved, more = {}) {
    if (this.#fields.busy) return;
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
    const head = cardHead(answered && approved ? "check" : "dash", summary ? name : words);
    if (summary) {
      head.querySelector("strong").className = "tool-name";
      head.append(h("span", { class: "request-summary", text: summary, dir: "auto" }));
    }
    const card = h("div", { class: "card request done" }, head);
    if (!approved) {
      const entries = Object.entries(values ?? {}).map(([key, value]) => [key, readable(value)]);
      if (entries.length) card.append(pairs(entries, "mono"));
    }
    this.replaceChildren(card);
    if (hadFocus) this.tell("dee-card-done");
  }
}

customElements.define("dee-approval", DeeApproval);
