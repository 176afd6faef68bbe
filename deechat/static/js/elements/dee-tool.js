// One call of a tool: its name, what it was given, what it gave, how long it took. Data down: `show(part)`.

import { h, icon } from "../core/dom.js";
import { duration, t } from "../core/words.js";

const STATE_ICON = { running: "spinner", done: "check", error: "alert", void: "dash" };

// The arguments on one line, as a hint in the folded card.
function brief(values) {
  const words = Object.values(values ?? {}).map((value) => (typeof value === "string" ? value : JSON.stringify(value)));
  return words.join(", ").replace(/\s+/g, " ").slice(0, 200);
}

function stateWords({ state, seconds }) {
  const took = typeof seconds === "number" && state !== "running" ? duration(seconds) : "";
  if (state === "error") return took ? `${t("toolError")} · ${took}` : t("toolError");
  return { running: t("toolRunning"), void: t("toolCancelled") }[state] ?? took;
}

class DeeTool extends HTMLElement {
  #icon = h("span", { class: "tool-icon" });
  #name = h("span", { class: "tool-name" });
  #brief = h("span", { class: "tool-brief", dir: "auto" });
  #state = h("span", { class: "tool-state" });
  #arguments = h("pre", { tabIndex: 0, dir: "ltr" });
  #result = h("pre", { tabIndex: 0, dir: "auto" });

  connectedCallback() {
    if (this.firstChild) return;
    const summary = h("summary", {}, this.#icon, this.#name, this.#brief, this.#state, icon("chevron"));
    const body = h(
      "div",
      { class: "tool-body" },
      h("h4", { text: t("toolArguments") }),
      this.#arguments,
      h("h4", { text: t("toolResult") }),
      this.#result,
    );
    this.append(h("details", { class: "card tool" }, summary, body));
  }

  show(part) {
    this.dataset.state = part.state;
    this.#icon.replaceChildren(icon(STATE_ICON[part.state]));
    this.#name.textContent = part.name;
    this.#brief.textContent = brief(part.arguments);
    this.#state.textContent = stateWords(part);
    const given = Object.keys(part.arguments ?? {}).length > 0;
    this.#arguments.textContent = given ? JSON.stringify(part.arguments, null, 2) : t("toolNoArguments");
    this.#result.textContent = part.content ?? (part.state === "running" ? "…" : t("toolNoResult"));
  }
}

customElements.define("dee-tool", DeeTool);
