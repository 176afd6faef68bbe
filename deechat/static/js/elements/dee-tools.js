// Which tools an agent may use, for the settings. Data down: `tools` (null: not known). Up: `fields`, what to save: only
// what was changed here, so that nothing is undone that another tab or a card has changed meanwhile.

import { DeeElement, h, iconButton } from "../core/dom.js";
import { scopeWord, t } from "../core/words.js";

const POLICIES = { allow: "policyAllow", ask: "policyAsk", deny: "policyDeny" };

class DeeTools extends DeeElement {
  #selects = new Map(); // tool's name → select
  #before = {};
  #revoked = {}; // tool's name → scopes that need a yes again
  #list = h("ul", { class: "tools" });

  connected() {
    if (!this.firstChild) this.append(h("h3", { text: t("tools") }), h("p", { class: "hint", text: t("toolsHint") }), this.#list);
  }

  set tools(tools) {
    this.hidden = !tools?.length;
    this.#selects.clear();
    this.#revoked = {};
    this.#before = Object.fromEntries((tools ?? []).map(({ name, policy }) => [name, policy]));
    this.#list.replaceChildren(...(tools ?? []).map((tool) => this.#row(tool)));
  }

  get fields() {
    const chosen = [...this.#selects].map(([name, select]) => [name, select.value]);
    const policies = Object.fromEntries(chosen.filter(([name, policy]) => policy !== this.#before[name]));
    const changes = Object.entries({ policies, revoked: this.#revoked });
    return Object.fromEntries(changes.filter(([, each]) => Object.keys(each).length > 0));
  }

  #row(tool) {
    const { name, description, policy, scope } = tool;
    const id = `tool-${name}`;
    const options = Object.entries(POLICIES).map(([value, key]) => {
      const words = t(key);
      return h("option", { value, text: value === tool.default ? t("policyDefault", { words }) : words });
    });
    const select = h("select", { id, "aria-describedby": `${id}-about` }, ...options);
    select.value = policy;
    this.#selects.set(name, select);
    const about = h("p", { class: "hint", id: `${id}-about`, text: description.split("\n\n")[0] });
    const words = h("div", {}, h("label", { htmlFor: id, class: "tool-name", text: name }), about);
    return h("li", {}, h("div", { class: "tool-row" }, words, select), scope ? this.#scopeList(tool) : null);
  }

  #scopeList({ name, scope, allowed }) {
    const word = scopeWord(scope);
    if (!allowed.length) return h("p", { class: "hint", text: t("noScopes", { scope: word }) });
    const words = t("scopes", { scope: word });
    const list = h("ul", { class: "scopes", "aria-label": `${name}: ${words}` });
    for (const each of allowed) {
      const remove = iconButton("close", t("removeScope", { scope: each }), () => {
        (this.#revoked[name] ??= []).push(each);
        (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("button").focus();
        row.remove();
      });
      const row = h("li", {}, h("span", { text: each }), remove);
      list.append(row);
    }
    return h("div", {}, h("p", { class: "hint", text: words }), list);
  }
}

customElements.define("dee-tools", DeeTools);
