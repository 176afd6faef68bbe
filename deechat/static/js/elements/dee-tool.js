// One call of a tool: its name, what it was given, what it gave, how long it took. Data down: `show(part)`.

import { DeeElement, html, icon } from "../core/dom.js";
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

export class DeeTool extends DeeElement {
  show(part) {
    const given = Object.keys(part.arguments ?? {}).length > 0;
    const result = part.content ?? (part.state === "running" ? "…" : t("toolNoResult"));
    this.dataset.state = part.state;
    this.draw(html`<details class="card tool">
      <summary
        ><span class="tool-icon">${icon(STATE_ICON[part.state])}</span
        ><span class="tool-name">${part.name}</span
        ><span class="tool-brief" dir="auto">${brief(part.arguments)}</span
        ><span class="tool-state">${stateWords(part)}</span
        >${icon("chevron")}</summary
      ><div class="tool-body">
        <h4>${t("toolArguments")}</h4>
        <pre tabindex="0" dir="ltr">${given ? JSON.stringify(part.arguments, null, 2) : t("toolNoArguments")}</pre>
        <h4>${t("toolResult")}</h4>
        <pre tabindex="0" dir="auto">${result}</pre>
      </div>
    </details>`);
  }
}

customElements.define("dee-tool", DeeTool);
