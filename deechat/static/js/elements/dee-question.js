// One question of the agent, with the control that fits it. Data down: `ask(question, { number, of, skippable })` once, and
// `draft`. Up: `answer` ({skipped, answer}, or null while there is none), "dee-typed" whenever something changed.

import { DeeElement, h, uid } from "../core/dom.js";
import { t } from "../core/words.js";

const TYPES = new Set(["text", "number", "date", "email", "url"]);

// Each kind of question → its control: { node, read, write, draft, focus, fault }. `read` gives the answer or null.
const CONTROLS = { input: field, choice };

function field({ inputType, placeholder }, id) {
  const props = { id, placeholder: placeholder ?? "", class: "field-control", dir: "auto" };
  const type = TYPES.has(inputType) ? inputType : null;
  const step = inputType === "number" ? "any" : null;
  const node = inputType === "textarea" ? h("textarea", { rows: 3, ...props }) : h("input", { type, step, ...props });
  return {
    node,
    read: () => node.value.trim() || null,
    draft: () => node.value,
    write: (text) => (node.value = text),
    focus: () => node.focus(),
    fault: () => (node.checkValidity() ? null : node.validationMessage),
  };
}

function choice({ options = [], optionDescriptions = [], multiSelect, allowOther }, id) {
  const type = multiSelect ? "checkbox" : "radio";
  const box = (value, props = {}) => h("input", { type, name: id, value, ...props });
  const rows = options.map((option, index) => {
    const words = optionDescriptions?.[index];
    const text = h("span", {}, h("span", { text: String(option) }), words ? h("small", { text: words }) : null);
    return h("label", { class: "option", dir: "auto" }, box(String(index)), text);
  });
  const other = h("input", { class: "field-control", dir: "auto", "aria-label": t("otherAnswer"), placeholder: t("otherAnswer") });
  const otherBox = box("other", { "aria-label": t("other") });
  const free = allowOther ? h("div", { class: "option other" }, otherBox, other) : null;
  other.addEventListener("input", () => (otherBox.checked = other.value.trim() !== "" || (otherBox.checked && !multiSelect)));
  otherBox.addEventListener("change", () => otherBox.checked && other.focus());
  const node = h("div", { class: "options", role: multiSelect ? "group" : "radiogroup", id }, ...rows, free);
  /** @type {(selector: string) => HTMLInputElement[]} */
  const inputs = (selector) => Array.from(node.querySelectorAll(selector));
  const checked = () => inputs("input:checked").map(({ value }) => value);
  const words = () => checked().map((value) => (value === "other" ? other.value.trim() : String(options[value])));
  return {
    node,
    read: () => {
      const picked = words();
      if (!picked.length || picked.includes("")) return null;
      return multiSelect ? picked : picked[0];
    },
    draft: () => ({ checked: checked(), other: other.value }),
    write: (draft) => {
      other.value = draft.other;
      for (const input of inputs(`input[type=${type}]`)) input.checked = draft.checked.includes(input.value);
    },
    focus: () => (inputs("input:checked")[0] ?? inputs("input")[0])?.focus(),
    fault: () => null,
  };
}

export class DeeQuestion extends DeeElement {
  /** @type {ReturnType<typeof field> | ReturnType<typeof choice>} */
  #control = /** @type {any} */ (null); // until it is asked
  #skipped = false;
  #skip = h("button", { type: "button", class: "skip-button", hidden: true });
  #fault = h("p", { class: "field-error" });
  #none = h("p", { class: "hint", text: t("skipped") });

  ask(question, { number, of, skippable }) {
    const id = `ask-${uid()}`;
    const [label, fault] = [`${id}-label`, `${id}-fault`];
    this.#control = (CONTROLS[question.kind] ?? field)(question, id);
    this.#fault.id = fault;
    this.#control.node.setAttribute("aria-labelledby", label);
    this.#control.node.setAttribute("aria-describedby", fault);
    this.#skip.hidden = !skippable;
    this.#skip.addEventListener("click", () => this.#toggle());
    this.addEventListener("input", () => this.#typed());
    const words = h("p", { id: label, class: "question-text", dir: "auto" });
    if (of > 1) words.append(h("span", { class: "question-number", dir: "ltr", text: t("questionNumber", { number, of }) }), " ");
    words.append(question.question ?? "");
    const many = question.multiSelect ? [h("p", { class: "hint", text: t("pickSeveral") })] : [];
    const head = h("div", { class: "question-head" }, words, this.#skip);
    this.replaceChildren(head, ...many, this.#control.node, this.#none, this.#fault);
    this.#draw();
  }

  get answer() {
    if (this.#skipped) return { skipped: true, answer: null };
    const answer = this.#control.fault() ? null : this.#control.read();
    return answer === null ? null : { skipped: false, answer };
  }

  get draft() {
    return { skipped: this.#skipped, value: this.#control.draft() };
  }

  set draft({ skipped, value }) {
    this.#skipped = skipped;
    this.#control.write(value);
    this.#draw();
  }

  // Leads the person here, and says what is missing.
  want() {
    this.#fault.textContent = this.#control.fault() ?? t(this.#skip.hidden ? "answerMissing" : "answerOrSkip");
    this.#control.focus();
  }

  focusControl() {
    if (this.#skipped) this.#skip.focus();
    else this.#control.focus();
  }

  #toggle() {
    this.#skipped = !this.#skipped;
    this.#draw();
    this.#typed();
    if (!this.#skipped) this.#control.focus();
  }

  #typed() {
    this.#fault.textContent = "";
    this.tell("dee-typed");
  }

  #draw() {
    this.#control.node.hidden = this.#skipped;
    this.#none.hidden = !this.#skipped;
    this.#skip.textContent = t(this.#skipped ? "answerAfterAll" : "skip");
  }
}

customElements.define("dee-question", DeeQuestion);
