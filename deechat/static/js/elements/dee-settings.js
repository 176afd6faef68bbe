// The settings of a workspace. Data down: `open({ workspace, models, current, only })`, then `tools` and `habits` when they are
// known; `only`: there is no other workspace. Events up: "dee-save" {fields}, "dee-new-workspace", "dee-delete-workspace",
// "dee-model" {model}: the habits of that one are wanted, "dee-forget" {code, model} of `dee-profile`.
// `fail(words)` and `close()` answer a save.

import { DeeElement, h, iconButton } from "../core/dom.js";
import { t } from "../core/words.js";
import { DeeProfile } from "./dee-profile.js";
import { DeeTools } from "./dee-tools.js";

/** @type {Record<string, import("../core/words.js").Key>} */
const MODES = { agent: "modeAgent", chat: "modeChat" };

const field = (label, control, hint) =>
  h(
    "div",
    { class: "field" },
    h("label", { htmlFor: control.id, text: t(label) }),
    control,
    hint ? h("p", { class: "hint", text: t(hint) }) : null,
  );

const numberIn = ({ value }) => (value === "" ? null : Number(value));

export class DeeSettings extends DeeElement {
  #name = h("input", { id: "set-name", dir: "auto", required: true, maxLength: 200 });
  #prompt = h("textarea", { id: "set-prompt", dir: "auto", rows: 5 });
  #model = h("select", { id: "set-model" });
  #mode = h("select", { id: "set-mode" });
  #temperature = h("input", { id: "set-temperature", type: "number", min: 0, max: 2, step: "any" });
  #maxTokens = h("input", { id: "set-max-tokens", type: "number", min: 1, max: 10000000, step: 1 });
  #context = h("input", { id: "set-context", type: "number", min: 1000, max: 10000000, step: 1 });
  #tools = new DeeTools();
  #profile = new DeeProfile();
  #default = null; // the model that answers where none is chosen
  #before = {}; // the fields as they were when the dialog was opened
  #error = h("p", { class: "field-error", role: "alert" });
  #delete = h("button", { type: "button", class: "button quiet-danger", text: t("deleteWorkspace") });
  #save = h("button", { class: "button primary", text: t("save") });
  #dialog = h("dialog", { class: "dialog settings", "aria-labelledby": "settings-title" });

  connected(signal) {
    this.#temperature.placeholder = t("temperatureHint");
    this.#maxTokens.placeholder = t("maxTokensHint");
    this.#context.placeholder = t("contextHint");
    if (!this.firstChild) this.#build();
    this.#dialog.addEventListener("submit", (event) => this.#submit(event), { signal });
    this.#model.addEventListener("change", () => this.#tellModel(), { signal });
  }

  #build() {
    const close = iconButton("close", t("cancel"), () => this.close());
    const more = h("button", { type: "button", class: "button", text: t("newWorkspace") });
    more.addEventListener("click", () => this.tell("dee-new-workspace"));
    this.#delete.addEventListener("click", () => this.tell("dee-delete-workspace"));
    const form = h(
      "form",
      {},
      h("div", { class: "dialog-head" }, h("h2", { id: "settings-title", text: t("settings") }), close),
      field("name", this.#name),
      field("systemPrompt", this.#prompt, "systemPromptHint"),
      field("model", this.#model),
      this.#profile,
      h("div", { class: "field-row" }, field("mode", this.#mode), field("temperature", this.#temperature)),
      h("div", { class: "field-row" }, field("maxTokens", this.#maxTokens), field("context", this.#context)),
      this.#tools,
      this.#error,
      h("div", { class: "dialog-foot" }, more, this.#delete, this.#save),
    );
    this.#dialog.append(form);
    this.append(this.#dialog);
  }

  set tools(tools) {
    this.#tools.tools = tools;
  }

  set habits(habits) {
    this.#profile.habits = habits;
  }

  #tellModel() {
    this.habits = null;
    this.tell("dee-model", { model: this.#model.value || this.#default });
  }

  open({ workspace, models, current, only }) {
    this.tools = null;
    this.#default = current;
    this.#delete.hidden = only;
    const byDefault = current ? t("modelDefault", { model: current }) : t("modelNone");
    const ids = [...new Set([...models.map(({ id }) => id), workspace.model].filter(Boolean))];
    this.#model.replaceChildren(h("option", { value: "", text: byDefault }), ...ids.map((id) => h("option", { value: id, text: id })));
    /** @type {typeof MODES} */
    const modes = { ...MODES, ...(workspace.mode === "query" ? { query: "modeQuery" } : {}) };
    this.#mode.replaceChildren(...Object.entries(modes).map(([value, key]) => h("option", { value, text: t(key) })));
    this.#name.value = workspace.name;
    this.#prompt.value = workspace.systemPrompt ?? "";
    this.#model.value = workspace.model ?? "";
    this.#mode.value = workspace.mode;
    this.#temperature.value = workspace.temperature ?? "";
    this.#maxTokens.value = workspace.maxTokens ?? "";
    this.#context.value = workspace.context ?? "";
    this.#before = this.#fields();
    this.fail("");
    this.#dialog.showModal();
    this.#tellModel();
  }

  close() {
    this.#dialog.close();
  }

  fail(words) {
    this.#error.textContent = words;
    this.#save.disabled = false;
  }

  #fields() {
    return {
      name: this.#name.value.trim(),
      systemPrompt: this.#prompt.value,
      model: this.#model.value || null,
      mode: this.#mode.value,
      temperature: numberIn(this.#temperature),
      maxTokens: numberIn(this.#maxTokens),
      context: numberIn(this.#context),
    };
  }

  // Only what was changed here is saved: another tab may have changed the rest meanwhile.
  #submit(event) {
    event.preventDefault();
    this.#save.disabled = true;
    const changed = Object.entries(this.#fields()).filter(([name, value]) => value !== this.#before[name]);
    this.tell("dee-save", { fields: { ...Object.fromEntries(changed), ...this.#tools.fields } });
  }
}

customElements.define("dee-settings", DeeSettings);
