// What a new chat shows: a greeting and a few prompts to begin with. Data down: `offline`. Events up: "dee-send" {text}.

import { DeeElement, h, icon } from "../core/dom.js";
import { t } from "../core/words.js";

/** @type {import("../core/words.js").Key[]} */
const EXAMPLES = ["example1", "example2", "example3"];

export class DeeWelcome extends DeeElement {
  #offline = h(
    "p",
    { class: "offline", hidden: true },
    icon("plug"),
    h("span", {}, h("strong", { text: t("offlineTitle") }), ` ${t("offlineHint")} ${t("offlineTry")}`),
  );

  connected() {
    if (this.firstChild) return;
    const examples = EXAMPLES.map((key) => {
      const button = h("button", { type: "button", class: "example", text: t(key) });
      button.addEventListener("click", () => this.tell("dee-send", { text: t(key) }));
      return h("li", {}, button);
    });
    const logo = h("span", { class: "logo large" }, icon("logo"));
    this.append(logo, h("h2", { text: t("hello") }), h("ul", { class: "examples" }, ...examples), this.#offline);
  }

  set offline(offline) {
    this.#offline.hidden = !offline;
  }
}

customElements.define("dee-welcome", DeeWelcome);
