// The field for a message, with send and stop; while an answer is being made, with the choice of what Enter does. Data down:
// `text`, `running`, `stopping`, `waiting`, `queue`, `error`. Events up: "dee-send" {text}, "dee-steer" {text}, "dee-queue"
// {text}, "dee-stop", "dee-draft" {text} on every change, "dee-to-request".

import { DeeElement, h, html, icon, iconButton } from "../core/dom.js";
import { readWhen, writeWhen } from "../core/memory.js";
import { t } from "../core/words.js";
import { DeeQueue } from "./dee-queue.js";

const TALLEST = 0.4; // of the window
const OTHER = { steer: "queue", queue: "steer" };

export class DeeComposer extends DeeElement {
  #running = false;
  #stopping = false;
  #waiting = false;
  #error = "";
  #when = readWhen();
  #queue = new DeeQueue();
  #field = h("textarea", { rows: 1, id: "message", dir: "auto", "aria-label": t("messageLabel") });

  connected(signal) {
    this.#field.addEventListener("input", () => this.#changed(), { signal });
    this.#field.addEventListener("keydown", (event) => this.#key(event), { signal });
    addEventListener("resize", () => this.#grow(), { signal });
    this.#draw();
    this.#grow();
  }

  #draw() {
    const running = this.#running;
    const empty = !this.text.trim();
    const steers = this.#when === "steer";
    const by = (plain, steer, queue) => t(!running ? plain : steers ? steer : queue);
    const send = by("send", "steerNow", "queueAfter");
    const option = (value, key) => html`<label
      ><input type="radio" name="when" value=${value} class="visually-hidden" .checked=${value === this.#when} /><span>${t(key)}</span></label
    >`;
    this.#field.placeholder = by("placeholder", "placeholderSteer", "placeholderQueue");
    this.draw(html`<div class="column">
      ${this.#queue}
      <div class="composer-error" role="alert" ?hidden=${!this.#error}>
        ${icon("alert")}<span>${this.#error}</span>${iconButton("close", t("dismiss"), () => (this.error = null))}
      </div>
      <div class="composer-hint" ?hidden=${!this.#waiting}>
        ${icon("hand")}<span>${t("agentWaits")}</span>
        <button type="button" class="link-button" @click=${() => this.tell("dee-to-request")}>${t("toRequest")}</button>
      </div>
      <div class="composer-box" @click=${({ target, currentTarget }) => target === currentTarget && this.#field.focus()}>
        ${this.#field}
        <button
          type="button" class="icon-button send stop" title=${t(this.#stopping ? "stopping" : "stop")} aria-label=${t("stop")}
          aria-disabled=${this.#stopping} ?hidden=${!running} @click=${() => this.tell("dee-stop")}>${icon("stop")}</button>
        ${iconButton("send", send, () => this.#submit(), { kind: "send", disabled: empty, hidden: running && empty })}
      </div>
      <div class="composer-foot">
        <div class="when" role="radiogroup" aria-label=${t("whenLabel")} ?hidden=${!running}
          @change=${({ target }) => this.#choose(target.value)}>${option("steer", "steerNow")}${option("queue", "queueAfter")}</div>
        <p class="keys">${by("keys", "keysSteer", "keysQueue")}</p>
      </div>
    </div>`);
  }

  get text() {
    return this.#field.value;
  }

  set text(text) {
    this.#field.value = text;
    this.#grow();
    this.#draw();
  }

  set running(running) {
    if (running === this.#running) return;
    if (!running && this.#error === t("runActive")) this.#error = "";
    const active = document.activeElement;
    const hadFocus = this.contains(active) && Boolean(active?.closest(".send, .when"));
    this.#running = running;
    this.#draw();
    if (hadFocus) this.focus(); // what had it is gone
  }

  set stopping(stopping) {
    this.#stopping = stopping;
    this.#draw(); // as disabled to the eye alone: it would lose the focus
  }

  // Whether the agent waits for an answer of the person.
  set waiting(waiting) {
    this.#waiting = waiting;
    this.#draw();
  }

  // { items, held } of the messages that wait.
  set queue(state) {
    this.#queue.show(state);
  }

  // Words, or null.
  set error(words) {
    this.#error = words ?? "";
    this.#draw();
  }

  focus() {
    this.#field.focus({ preventScroll: true });
  }

  // What Enter and the button do while an answer is being made.
  #choose(when) {
    this.#when = when;
    writeWhen(when);
    this.#draw();
    if (this.text.trim()) this.focus();
  }

  #changed() {
    this.#grow();
    this.#draw();
    this.tell("dee-draft", { text: this.text });
  }

  // While an input method composes, Enter chooses a word and must not send; some browsers then say key code 229 only.
  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#submit(event.ctrlKey || event.metaKey);
  }

  #submit(otherWay = false) {
    const { text } = this;
    if (!text.trim()) return;
    if (!this.#running) return this.tell("dee-send", { text });
    const when = otherWay ? OTHER[this.#when] : this.#when;
    if (when === "steer") this.tell("dee-steer", { text });
    else this.tell("dee-queue", { text });
  }

  #grow() {
    const { style } = this.#field;
    style.height = "auto";
    style.height = `${Math.min(this.#field.scrollHeight, innerHeight * TALLEST)}px`;
  }
}

customElements.define("dee-composer", DeeComposer);
