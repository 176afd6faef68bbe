// What the agent asks of a person: a yes for a tool, or questions. For now it can be read here. Data down: `show(part)`.

import { h, icon } from "../dom.js";
import { t } from "../words.js";

function title({ kind, state, approved, name }) {
  if (kind === "questions") return t({ open: "questionOpen", answered: "questionAnswered" }[state] ?? "requestVoid");
  if (state === "answered") return t(approved ? "approvalYes" : "approvalNo", { name });
  return state === "open" ? t("approvalOpen", { name }) : t("requestVoid");
}

function questionLines({ questions }) {
  return questions.map((item) =>
    h(
      "div",
      { class: "question" },
      h("p", { text: item.question ?? "" }),
      item.options?.length ? h("ul", {}, ...item.options.map((option) => h("li", { text: String(option) }))) : null,
    ),
  );
}

function approvalLines({ text, arguments: payload }) {
  return [text ? h("p", { text }) : null, h("pre", { text: JSON.stringify(payload ?? {}, null, 2), tabIndex: 0 })];
}

const LINES = { approval: approvalLines, questions: questionLines };

class DeeRequest extends HTMLElement {
  show(part) {
    this.dataset.state = part.state;
    const head = h("p", { class: "request-head" }, icon("hand"), h("strong", { text: title(part) }));
    const summary = part.summary ? h("p", { class: "request-summary", text: part.summary }) : null;
    const card = h("div", { class: "card request" });
    card.append(...[head, ...LINES[part.kind](part), summary].filter(Boolean));
    this.replaceChildren(card);
  }
}

customElements.define("dee-request", DeeRequest);
