// Questions of the agent, answered together. Data down: `show(part, { reply })`. Events up: "dee-respond" {requestId, body},
// "dee-card-done" when the focus was in a card that closed.

import { BUSY, button, cardHead, Fields, isDone, pairs, replyWords } from "./cards.js";
import { DeeElement, h } from "../core/dom.js";
import { readCard, writeCard } from "../core/memory.js";
import { t } from "../core/words.js";
import "./dee-question.js";

// Questions and answers as pairs; null where the frame brought no answer for each.
function answersOf({ questions, answers }) {
  if (!answers || answers.length !== questions.length) return null;
  return questions.map(({ question }, index) => {
    const { skipped, answer } = answers[index] ?? {};
    const words = Array.isArray(answer) ? answer.join(", ") : String(answer ?? "");
    return [question ?? "", skipped || answer === null || answer === undefined ? t("skipped") : words];
  });
}

class DeeQuestions extends DeeElement {
  #part = null;
  #fields = null;
  #questions = [];
  #fault = h("p", { class: "field-error", role: "alert" });
  #state = h("span", { class: "reply-state" });

  show(part, { reply } = {}) {
    this.#part = part;
    this.dataset.state = part.state;
    if (part.state !== "open") return this.#close(part);
    if (!this.#fields) this.#open(part);
    const state = reply?.state ?? "open";
    this.#fields.busy = BUSY.includes(state);
    this.#state.textContent = replyWords(state);
    if (reply?.error) this.#fault.textContent = reply.error;
  }

  #open({ questions, allowSkip, requestId }) {
    const of = questions.length;
    this.#questions = questions.map((question, index) => {
      const node = document.createElement("dee-question");
      node.ask(question, { number: index + 1, of, skippable: allowSkip && of > 1 });
      return node;
    });
    const draft = readCard(requestId);
    if (draft?.length === of) draft.forEach((each, index) => (this.#questions[index].draft = each));
    const skip = allowSkip && button(t(of > 1 ? "skipAll" : "skip"), "", () => this.#send({ skipped: true }));
    const foot = h("div", { class: "request-foot" }, button(t("sendAnswers"), "primary", () => this.#submit()), skip, this.#state);
    const fields = h("fieldset", { class: "plain", "aria-label": t("questionOpen") }, ...this.#questions, this.#fault, foot);
    const card = h("div", { class: "card request" }, cardHead("hand", t("questionOpen")), fields);
    this.#fields = new Fields(fields);
    card.addEventListener("keydown", (event) => this.#key(event));
    card.addEventListener("dee-typed", () => this.#typed());
    this.replaceChildren(card);
  }

  #typed() {
    this.#fault.textContent = "";
    writeCard(this.#part.requestId, this.#questions.map(({ draft }) => draft));
  }

  // In a field of one line Enter leads on to the next question without an answer, and sends when there is none.
  #key(event) {
    const plain = event.key === "Enter" && event.target.localName === "input" && event.keyCode !== 229 && !event.isComposing;
    if (isDone(event)) this.#submit();
    else if (plain) this.#next(event.target.closest("dee-question"));
    else return;
    event.preventDefault();
  }

  #next(from) {
    if (from.answer === null) return from.want();
    const rest = this.#questions.filter((question) => question.answer === null);
    const after = rest.find((question) => from.compareDocumentPosition(question) & Node.DOCUMENT_POSITION_FOLLOWING);
    const next = after ?? rest[0];
    if (next) next.focusControl();
    else this.#submit();
  }

  #submit() {
    const missing = this.#questions.find((question) => question.answer === null);
    if (missing) missing.want();
    else this.#send({ answers: this.#questions.map(({ answer }) => answer) });
  }

  #send(body) {
    if (this.#fields.busy) return;
    this.#fault.textContent = "";
    this.#fields.busy = true; // a second click comes before the next drawing
    this.tell("dee-respond", { requestId: this.#part.requestId, body });
  }

  #close(part) {
    const hadFocus = this.#fields?.hadFocus ?? false;
    if (part.requestId) writeCard(part.requestId, null);
    this.#fields = null;
    const answered = part.state === "answered";
    const card = h("div", { class: "card request done" });
    card.append(cardHead(answered ? "check" : "dash", t(answered ? "questionAnswered" : "questionVoid")));
    const given = answered && answersOf(part);
    if (answered && !given && part.summary) card.append(h("p", { class: "request-summary", text: part.summary, dir: "auto" }));
    else card.append(pairs(given || part.questions.map(({ question }) => [question ?? "", ""])));
    this.replaceChildren(card);
    if (hadFocus) this.tell("dee-card-done");
  }
}

customElements.define("dee-questions", DeeQuestions);
