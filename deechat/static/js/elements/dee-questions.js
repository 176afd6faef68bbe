// Questions of the agent, answered together. Data down: `show(part, { reply })`. Events up: "dee-respond" {requestId, body},
// "dee-card-done" when the focus was in a card that closed.

import { BUSY, button, cardHead, Fields, isDone, pairs, replyWords } from "./cards.js";
import { DeeElement, html, nothing } from "../core/dom.js";
import { readCard, writeCard } from "../core/memory.js";
import { t } from "../core/words.js";
import { DeeQuestion } from "./dee-question.js";

// Questions and answers as pairs; null where the frame brought no answer for each.
function answersOf({ questions, answers }) {
  if (!answers || answers.length !== questions.length) return null;
  return questions.map(({ question }, index) => {
    const { skipped, answer } = answers[index] ?? {};
    const words = Array.isArray(answer) ? answer.join(", ") : String(answer ?? "");
    return [question ?? "", skipped || answer === null || answer === undefined ? t("skipped") : words];
  });
}

export class DeeQuestions extends DeeElement {
  /** @type {any} */
  #part = null;
  #state = "open"; // of the reply
  #fault = "";
  /** @type {Fields | null} */
  #fields = null;
  /** @type {DeeQuestion[]} */
  #questions = [];

  show(part, { reply } = /** @type {any} */ ({})) {
    this.#part = part;
    this.dataset.state = part.state;
    if (part.state !== "open") return this.#close(part);
    this.#state = reply?.state ?? "open";
    if (reply?.error) this.#fault = reply.error;
    const fields = (this.#fields ??= this.#open(part));
    this.#draw();
    fields.busy = BUSY.includes(this.#state);
  }

  #open({ questions, allowSkip, requestId }) {
    const of = questions.length;
    this.#questions = questions.map((question, index) => {
      const node = new DeeQuestion();
      node.ask(question, { number: index + 1, of, skippable: allowSkip && of > 1 });
      return node;
    });
    const draft = readCard(requestId);
    if (draft?.length === of) draft.forEach((each, index) => (this.#questions[index].draft = each));
    this.#draw();
    return new Fields(this.querySelector("fieldset"));
  }

  #draw() {
    const words = t("questionOpen");
    const skip = t(this.#questions.length > 1 ? "skipAll" : "skip");
    this.draw(html`<div class="card request" @keydown=${(event) => this.#key(event)} @dee-typed=${() => this.#typed()}>
      ${cardHead("hand", words)}
      <fieldset class="plain" aria-label=${words}>
        ${this.#questions}
        <p class="field-error" role="alert">${this.#fault}</p>
        <div class="request-foot">
          ${button(t("sendAnswers"), "primary", () => this.#submit())}
          ${this.#part.allowSkip ? button(skip, "", () => this.#send({ skipped: true })) : nothing}
          <span class="reply-state">${replyWords(this.#state)}</span>
        </div>
      </fieldset>
    </div>`);
  }

  #say(fault) {
    this.#fault = fault;
    this.#draw();
  }

  #typed() {
    this.#say("");
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
    if (!this.#fields || this.#fields.busy) return;
    this.#say("");
    this.#fields.busy = true; // a second click comes before the next drawing
    this.tell("dee-respond", { requestId: this.#part.requestId, body });
  }

  #close(part) {
    const hadFocus = this.#fields?.hadFocus ?? false;
    if (part.requestId) writeCard(part.requestId, null);
    this.#fields = null;
    const answered = part.state === "answered";
    const given = answered && answersOf(part);
    this.draw(html`<div class="card request done">
      ${cardHead(answered ? "check" : "dash", t(answered ? "questionAnswered" : "questionVoid"))}
      ${answered && !given && part.summary
        ? html`<p class="request-summary" dir="auto">${part.summary}</p>`
        : pairs(given || part.questions.map(({ question }) => [question ?? "", ""]))}
    </div>`);
    if (hadFocus) this.tell("dee-card-done");
  }
}

customElements.define("dee-questions", DeeQuestions);
