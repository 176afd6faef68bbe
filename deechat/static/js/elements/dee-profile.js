// What is known of a model, and what was learnt of it while it was asked, for the settings. Data down: `habits` (null: not
// known). Events up: "dee-forget" {code, model}.

import { DeeElement, html, iconButton } from "../core/dom.js";
import { habitWords, t, timeOfDay } from "../core/words.js";

export class DeeProfile extends DeeElement {
  set habits(habits) {
    this.hidden = !habits?.length;
    this.draw(html`
      <p class="hint">${t("profile")}</p>
      <ul class="scopes" aria-label=${t("profile")}>${(habits ?? []).map((habit) => this.#row(habit))}</ul>
    `);
  }

  #row(habit) {
    const { code, model, learntAt } = habit;
    const words = habitWords(habit);
    if (learntAt === null) return html`<li class="known"><span>${words}</span></li>`;
    const forget = iconButton("close", t("forget", { words }), () => this.tell("dee-forget", { code, model }));
    return html`<li><span>${t("learnt", { words, time: timeOfDay(learntAt) })}</span>${forget}</li>`;
  }
}

customElements.define("dee-profile", DeeProfile);
