// The field for a message, with send and stop; while an answer is being made, with the choice of what Enter does. Data down:
// `text`, `running`, `stopping`, `waiting`, `queue`, `error`. Events up: "dee-send" {text}, "dee-steer" {text}, "dee-queue"
// {text}, "dee-stop", "dee-draft" {text} on every change, "dee-to-request".

import { DeeElement, h, icon, iconButton } from "../core/dom.js";
import { readWhen, writeWhen } from "../core/memory.js";
import { t } from "../core/words.js";
import "./dee-queue.js";

const TALLEST = 0.4; // of the window
const OTHER = { steer: "queue", queue: "steer" };

class DeeComposer extends DeeElement {
  #running = false;
  #waiting = false;
  #when = readWhen();
  #queue = document.createElement("dee-queue");
  #field = h("textarea", { rows: 1, id: "message", dir: "auto", placeholder: t("placeholder"), "aria-label": t("messageLabel") });
  #send = iconButton("send", t("send"), () => this.#submit(), { class: "send" });
  #stop = iconButton("stop", t("stop"), () => this.tell("dee-stop"), { class: "send stop", hidden: true });
  #words = h("span", {});
  #error = h("div", { class: "composer-error", role: "alert", hidden: true });
  #hint = h("div", { class: "composer-hint", hidden: true });
  #choice = h("div", { class: "when", role: "radiogroup", "aria-label": t("whenLabel"), hidden: true });
  #keys = h("p", { class: "keys", text: t("keys") });

  connected(signal) {
    if (!this.firstChild) this.#build();
    this.#field.addEventListener("input", () => this.#changed(), { signal });
    this.#field.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.#choice.addEventListener("change", ({ target }) => this.#choose(target.value), { signal });
    addEventListener("resize", () => this.#grow(), { signal });
    this.#grow();
  }

  #build() {
    const dismiss = iconButton("close", t("dismiss"), () => (this.error = null));
    this.#error.append(icon("alert"), this.#words, dismiss);
    const go = h("button", { type: "button", class: "link-button", text: t("toRequest") });
    go.addEventListener("click", () => this.tell("dee-to-request"));
    this.#hint.append(icon("hand"), h("span", { text: t("agentWaits") }), go);
    this.#choice.append(this.#option("steer", "steerNow"), this.#option("queue", "queueAfter"));
    const box = h("div", { class: "composer-box" }, this.#field, this.#stop, this.#send);
    box.addEventListener("click", (event) => event.target === box && this.#field.focus());
    const foot = h("div", { class: "composer-foot" }, this.#choice, this.#keys);
    this.append(h("div", { class: "column" }, this.#queue, this.#error, this.#hint, box, foot));
  }

  #option(value, key) {
    const input = h("input", { type: "radio", name: "when", value, class: "visually-hidden", checked: value === this.#when });
    return h("label", {}, input, h("span", { text: t(key) }));
  }

  get text() {
    return this.#field.value;
  }

  set text(text) {
    this.#field.value = text;
    this.#grow();
    this.#enable();
  }

  set running(running) {
    if (running === this.#running) return this.#enable();
    if (!running && this.#words.textContent === t("runActive")) this.error = null;
    const active = document.activeElement;
    const hadFocus = active === this.#stop || active === this.#send || this.#choice.contains(active);
    this.#running = running;
    this.#stop.hidden = !running;
    this.#choice.hidden = !running;
    this.#label();
    this.#enable();
    if (hadFocus) this.focus(); // what had it is gone
  }

  set stopping(stopping) {
    this.#stop.setAttribute("aria-disabled", String(stopping)); // a disabled one would lose the focus
    this.#stop.title = t(stopping ? "stopping" : "stop");
  }

  // Whether the agent waits for an answer of the person.
  set waiting(waiting) {
    if (waiting === this.#waiting) return;
    this.#waiting = waiting;
    this.#hint.hidden = !waiting;
  }

  // { items, held } of the messages that wait.
  set queue(state) {
    this.#queue.show(state);
  }

  // Words, or null.
  set error(words) {
    this.#error.hidden = !words;
    this.#words.textContent = words ?? "";
  }

  focus() {
    this.#field.focus({ preventScroll: true });
  }

  #choose(when) {
    this.#when = when;
    writeWhen(when);
    this.#label();
    if (this.text.trim()) this.focus();
  }

  // What Enter and the button do.
  #label() {
    const steers = this.#when === "steer";
    const label = !this.#running ? t("send") : t(steers ? "steerNow" : "queueAfter");
    this.#send.title = label;
    this.#send.setAttribute("aria-label", label);
    this.#field.placeholder = t(!this.#running ? "placeholder" : steers ? "placeholderSteer" : "placeholderQueue");
    this.#keys.textContent = !this.#running ? t("keys") : t(steers ? "keysSteer" : "keysQueue");
  }

  #changed() {
    this.#grow();
    this.#enable();
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

  #enable() {
    const empty = !this.text.trim();
    this.#send.disabled = empty;
    this.#send.hidden = this.#running && empty;
  }

  #grow() {
    const { style } = this.#field;
    style.height = "auto";
    style.height = `${Math.min(this.#field.scrollHeight, innerHeight * TALLEST)}px`;
  }
}

customElements.define("dee-composer", DeeComposer);
