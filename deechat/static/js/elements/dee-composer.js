// The field for a message, with send and stop. Data down: `text`, `running`, `stopping`, `error`. Events up: "dee-send"
// {text}, "dee-stop", "dee-draft" {text} on every change.

import { DeeElement, h, icon, iconButton } from "../dom.js";
import { t } from "../words.js";

const TALLEST = 0.4; // of the window

class DeeComposer extends DeeElement {
  #running = false;
  #field = h("textarea", { rows: 1, id: "message", placeholder: t("placeholder"), "aria-label": t("messageLabel") });
  #send = iconButton("send", t("send"), () => this.#submit(), { class: "send" });
  #stop = iconButton("stop", t("stop"), () => this.tell("dee-stop"), { class: "send stop", hidden: true });
  #words = h("span", {});
  #error = h("div", { class: "composer-error", role: "alert", hidden: true });

  connected(signal) {
    if (!this.firstChild) this.#build();
    this.#field.addEventListener("input", () => this.#changed(), { signal });
    this.#field.addEventListener("keydown", (event) => this.#key(event), { signal });
    addEventListener("resize", () => this.#grow(), { signal });
    this.#grow();
  }

  #build() {
    const dismiss = iconButton("close", t("dismiss"), () => (this.error = null));
    this.#error.append(icon("alert"), this.#words, dismiss);
    const box = h("div", { class: "composer-box" }, this.#field, this.#stop, this.#send);
    box.addEventListener("click", (event) => event.target === box && this.#field.focus());
    this.append(h("div", { class: "column" }, this.#error, box, h("p", { class: "keys", text: t("keys") })));
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
    if (this.#running && !running && this.#words.textContent === t("runActive")) this.error = null;
    this.#running = running;
    const hadFocus = document.activeElement === this.#stop || document.activeElement === this.#send;
    this.#stop.hidden = !running;
    this.#send.hidden = running;
    this.#field.placeholder = t(running ? "placeholderRunning" : "placeholder");
    if (hadFocus) this.focus(); // the button that had it is gone
    this.#enable();
  }

  set stopping(stopping) {
    this.#stop.disabled = stopping;
    this.#stop.title = t(stopping ? "stopping" : "stop");
  }

  // Words, or null.
  set error(words) {
    this.#error.hidden = !words;
    this.#words.textContent = words ?? "";
  }

  focus() {
    this.#field.focus({ preventScroll: true });
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
    this.#submit();
  }

  #submit() {
    if (!this.text.trim()) return;
    if (this.#running) {
      this.error = t("runActive");
      return;
    }
    this.tell("dee-send", { text: this.text });
  }

  #enable() {
    this.#send.disabled = this.#running || !this.text.trim();
  }

  #grow() {
    const { style } = this.#field;
    style.height = "auto";
    style.height = `${Math.min(this.#field.scrollHeight, innerHeight * TALLEST)}px`;
  }
}

customElements.define("dee-composer", DeeComposer);
