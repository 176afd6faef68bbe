// Which tools an agent may use, for the settings. Data down: `tools` (null: not known). Up: `fields`, what to save, empty
// where nothing was changed.

import { DeeElement, h, iconButton } from "../dom.js";
import { t } from "../words.js";

const POLICIES = { allow: "policyAllow", ask: "policyAsk", deny: "policyDeny" };

class DeeTools extends DeeElement {
  #selects = new Map(); // tool's name → select
  #before = {};
  #hosts = null; // of the tool that has any; null: none has
  #hostsBefore = 0;
  #list = h("ul", { class: "tools" });

  connected() {
    if (!this.firstChild) this.append(h("h3", { text: t("tools") }), h("p", { class: "hint", text: t("toolsHint") }), this.#list);
  }

  set tools(tools) {
    this.hidden = !tools?.length;
    this.#selects.clear();
    this.#hosts = null;
    this.#before = Object.fromEntries((tools ?? []).map(({ name, policy }) => [name, policy]));
    this.#list.replaceChildren(...(tools ?? []).map((tool) => this.#row(tool)));
  }

  get fields() {
    const tools = Object.fromEntries([...this.#selects].map(([name, select]) => [name, select.value]));
    const changed = Object.entries(tools).some(([name, policy]) => policy !== this.#before[name]);
    const fewer = this.#hosts && this.#hosts.length !== this.#hostsBefore;
    return { ...(changed ? { tools } : {}), ...(fewer ? { allowedHosts: this.#hosts } : {}) };
  }

  #row(tool) {
    const { name, description, policy, allowedHosts } = tool;
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
    return h("li", {}, h("div", { class: "tool-row" }, words, select), allowedHosts ? this.#hostList(allowedHosts) : null);
  }

  #hostList(hosts) {
    this.#hosts = [...hosts];
    this.#hostsBefore = hosts.length;
    if (!hosts.length) return h("p", { class: "hint", text: t("noHosts") });
    const list = h("ul", { class: "hosts", "aria-label": t("hosts") });
    for (const host of hosts) {
      const remove = iconButton("close", t("removeHost", { host }), () => {
        this.#hosts = this.#hosts.filter((each) => each !== host);
        (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("button").focus();
        row.remove();
      });
      const row = h("li", {}, h("span", { text: host }), remove);
      list.append(row);
    }
    return h("div", {}, h("p", { class: "hint", text: t("hosts") }), list);
  }
}

customElements.define("dee-tools", DeeTools);
