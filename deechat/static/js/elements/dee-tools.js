// Which tools an agent may use, for the settings. Data down: `tools` (null: not known). Up: `fields`, what to save: only
// what was changed here, so that nothing is undone that another tab or a card has changed meanwhile.

import { DeeElement, html, iconButton, nothing } from "../core/dom.js";
import { scopeWord, t } from "../core/words.js";

/** @type {Record<string, import("../core/words.js").Key>} */
const POLICIES = { allow: "policyAllow", ask: "policyAsk", deny: "policyDeny" };

export class DeeTools extends DeeElement {
  #tools = [];
  #revoked = {}; // tool's name → scopes that need a yes again

  set tools(tools) {
    this.#tools = tools ?? [];
    this.#revoked = {};
    this.#draw();
  }

  get fields() {
    const changed = this.#tools.map(({ name, policy }) => [name, this.#select(name).value, policy]);
    const policies = Object.fromEntries(changed.filter(([, chosen, before]) => chosen !== before));
    const changes = Object.entries({ policies, revoked: this.#revoked });
    return Object.fromEntries(changes.filter(([, each]) => Object.keys(each).length > 0));
  }

  /** @returns {HTMLSelectElement} */
  #select(name) {
    return /** @type {any} */ (this.querySelector(`#${CSS.escape(`tool-${name}`)}`));
  }

  #draw() {
    this.hidden = this.#tools.length === 0;
    this.draw(html`
      <h3>${t("tools")}</h3>
      <p class="hint">${t("toolsHint")}</p>
      <ul class="tools">${this.#tools.map((tool) => this.#row(tool))}</ul>
    `);
  }

  #row(tool) {
    const { name, description, policy, scope } = tool;
    const id = `tool-${name}`;
    const options = Object.entries(POLICIES).map(([value, key]) => {
      const words = t(key);
      const shown = value === tool.default ? t("policyDefault", { words }) : words;
      return html`<option value=${value} ?selected=${value === policy}>${shown}</option>`;
    });
    return html`<li>
      <div class="tool-row">
        <div>
          <label for=${id} class="tool-name">${name}</label>
          <p class="hint" id="${id}-about">${description.split("\n\n")[0]}</p>
        </div>
        <select id=${id} aria-describedby="${id}-about">${options}</select>
      </div>
      ${scope ? this.#scopeList(tool) : nothing}
    </li>`;
  }

  #scopeList({ name, scope, allowed }) {
    const word = scopeWord(scope);
    if (!allowed.length) return html`<p class="hint">${t("noScopes", { scope: word })}</p>`;
    const words = t("scopes", { scope: word });
    const left = allowed.filter((each) => !this.#revoked[name]?.includes(each));
    const rows = left.map((each) => {
      const remove = iconButton("close", t("removeScope", { scope: each }), (event) => this.#revoke(event, name, each));
      return html`<li><span>${each}</span>${remove}</li>`;
    });
    return html`<div>
      <p class="hint">${words}</p>
      <ul class="scopes" aria-label="${name}: ${words}">${rows}</ul>
    </div>`;
  }

  // The focus goes to the row that comes after, or to the last one.
  #revoke({ currentTarget }, name, scope) {
    const list = currentTarget.closest("ul");
    (this.#revoked[name] ??= []).push(scope);
    this.#draw();
    if (!currentTarget.isConnected) list.querySelector("li:last-child button")?.focus();
  }
}

customElements.define("dee-tools", DeeTools);
