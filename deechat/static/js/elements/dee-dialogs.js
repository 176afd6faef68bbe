// The small dialogs: "are you sure?" and the log-in. Each opens itself and gives a promise.

import { DeeElement, h, icon } from "../core/dom.js";
import { sendPassword } from "../core/api.js";
import { t } from "../core/words.js";

export class DeeConfirm extends DeeElement {
  #title = h("h2", { id: "confirm-title" });
  #body = h("p", { dir: "auto" });
  #yes = h("button", { value: "yes", class: "button danger" });
  #dialog = h("dialog", { class: "dialog", "aria-labelledby": "confirm-title" });

  connected() {
    if (this.firstChild) return;
    const no = h("button", { value: "", class: "button", text: t("cancel"), autofocus: true });
    const form = h("form", { method: "dialog" }, this.#title, this.#body, h("div", { class: "dialog-foot" }, no, this.#yes));
    this.#dialog.append(form);
    this.append(this.#dialog);
  }

  // Resolves to whether it was confirmed; Escape is a no.
  ask({ title, body, yes }) {
    this.#title.textContent = title;
    this.#body.textContent = body;
    this.#yes.textContent = yes;
    this.#dialog.returnValue = "";
    this.#dialog.showModal();
    return new Promise((resolve) => {
      this.#dialog.addEventListener("close", () => resolve(this.#dialog.returnValue === "yes"), { once: true });
    });
  }
}

export class DeeLogin extends DeeElement {
  #field = h("input", { type: "password", id: "password", autocomplete: "current-password", required: true });
  #error = h("p", { class: "field-error", role: "alert" });
  #button = h("button", { class: "button primary", text: t("logIn") });
  #dialog = h("dialog", { class: "dialog login", "aria-labelledby": "login-title" });
  /** @type {Promise<void> | null} */
  #waiting = null;
  #came = () => {};

  connected(signal) {
    if (!this.firstChild) this.#build();
    this.#dialog.addEventListener("cancel", (event) => event.preventDefault(), { signal }); // there is nothing behind it
    this.#dialog.addEventListener("submit", (event) => this.#submit(event), { signal });
  }

  #build() {
    const user = h("input", { type: "text", autocomplete: "username", value: "deechat", hidden: true, readOnly: true });
    const form = h(
      "form",
      {},
      h("span", { class: "logo" }, icon("logo")),
      h("h2", { id: "login-title", text: t("appName") }),
      h("p", { text: t("logInHint") }),
      user,
      h("label", { htmlFor: "password", text: t("password") }),
      this.#field,
      this.#error,
      this.#button,
    );
    this.#dialog.append(form);
    this.append(this.#dialog);
  }

  // Resolves when somebody came in; all who ask meanwhile wait for the same log-in.
  ask() {
    this.#waiting ??= new Promise((resolve) => (this.#came = resolve));
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#field.focus();
    return this.#waiting;
  }

  async #submit(event) {
    event.preventDefault();
    this.#button.disabled = true;
    this.#error.textContent = "";
    try {
      await sendPassword(this.#field.value);
      this.#field.value = "";
      this.#dialog.close();
      this.#came();
      this.#waiting = null;
    } catch (error) {
      const { status, message, retryAfter } = error;
      const words = { 401: t("wrongPassword"), 429: t("tooManyAttempts", { seconds: Math.ceil(retryAfter ?? 1) }) };
      this.#error.textContent = words[status] ?? (message || t("networkError"));
      this.#field.select();
    } finally {
      this.#button.disabled = false;
    }
  }
}

customElements.define("dee-confirm", DeeConfirm);
customElements.define("dee-login", DeeLogin);
