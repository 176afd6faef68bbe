// What is known of a model, and what was learnt of it while it was asked, for the settings. Data down: `habits` (null: not
// known). Events up: "dee-forget" {code, model}.

import { DeeElement, h, iconButton } from "../core/dom.js";
import { habitWords, t, timeOfDay } from "../core/words.js";

class DeeProfile extends DeeElement {
  #list = h("ul", { class: "scopes", "aria-label": t("profile") });

  connected() {
    if (!this.firstChild) this.append(h("p", { class: "hint", text: t("profile") }), this.#list);
  }

  set habits(habits) {
    this.hidden = !habits?.length;
    this.#list.replaceChildren(...(habits ?? []).map((habit) => this.#row(habit)));
  }

  #row(habit) {
    const { code, model, learntAt } = habit;
    const words = habitWords(habit);
    if (learntAt === null) return h("li", { class: "known" }, h("span", { text: words }));
    const text = t("learnt", { words, time: timeOfDay(learntAt) });
    const forget = iconButton("close", t("forget", { words }), () => this.tell("dee-forget", { code, model }));
    return h("li", {}, h("span", { text }), forget);
  }
}

customElements.define("dee-profile", DeeProfile);
