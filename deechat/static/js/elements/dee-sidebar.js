// The list of chats. Data down: `threads`, `hasMore` (whether there are older ones), `current` (a slug or null),
// `workspaces`, `workspace` (a slug), `busy` (the slug of a thread whose answer is being made), `waiting` (whether that one
// waits for the person). Events up: "dee-new", "dee-rename" {slug, name}, "dee-delete" {thread}, "dee-more-threads",
// "dee-workspace" {slug}, "dee-settings", "dee-log-out", "dee-close".

import { DeeElement, h, icon, iconButton } from "../core/dom.js";
import { hashOf } from "../core/route.js";
import { t } from "../core/words.js";

const DAY = 86_400;

// The name of the group of days that a time belongs to.
export function groupOf(time, now = new Date()) {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime() / 1000;
  if (time >= midnight) return "today";
  if (time >= midnight - DAY) return "yesterday";
  return time >= midnight - 7 * DAY ? "lastWeek" : "older";
}

class DeeSidebar extends DeeElement {
  #threads = [];
  #hasMore = false;
  #current = null;
  #workspace = null;
  #busy = null;
  #waiting = false;
  #renaming = null;
  #drawn = "";
  #name = h("span", { class: "workspace-name", dir: "auto" });
  #switcher = h("select", { class: "workspace-switcher", "aria-label": t("workspace"), hidden: true });
  #list = h("nav", { class: "threads", "aria-label": t("chats") });

  connected(signal) {
    if (!this.firstChild) this.#build();
    const choose = () => this.tell("dee-workspace", { slug: this.#switcher.value });
    this.#switcher.addEventListener("change", choose, { signal });
    this.#list.addEventListener("click", (event) => this.#clicked(event), { signal });
    this.#list.addEventListener("dblclick", (event) => this.#doubleClicked(event), { signal });
  }

  #build() {
    const settings = iconButton("settings", t("settings"), () => this.tell("dee-settings"));
    const logOut = iconButton("leave", t("logOut"), () => this.tell("dee-log-out"), { hidden: !("guarded" in document.body.dataset) });
    const close = iconButton("sidebar", t("closeSidebar"), () => this.tell("dee-close"), { class: "close-sidebar" });
    const compose = h("button", { type: "button", class: "new-chat" }, icon("plus"), h("span", { text: t("newChat") }));
    compose.addEventListener("click", () => this.tell("dee-new"));
    this.append(
      h("div", { class: "sidebar-head" }, h("span", { class: "logo" }, icon("logo")), h("strong", { text: t("appName") }), close),
      compose,
      this.#list,
      h("div", { class: "sidebar-foot" }, h("div", { class: "workspace" }, this.#name, this.#switcher), settings, logOut),
    );
  }

  set threads(threads) {
    this.#threads = threads;
    this.#draw();
  }

  set hasMore(hasMore) {
    this.#hasMore = hasMore; // drawn with the threads, which come after it
  }

  set current(slug) {
    this.#current = slug;
    this.#draw();
  }

  set busy(slug) {
    if (slug === this.#busy) return;
    this.#busy = slug;
    this.#draw();
  }

  set waiting(waiting) {
    if (waiting === this.#waiting) return;
    this.#waiting = waiting;
    this.#draw();
  }

  set workspace(slug) {
    this.#workspace = slug;
  }

  set workspaces(workspaces) {
    const options = workspaces.map(({ slug, name }) => h("option", { value: slug, text: name, dir: "auto" }));
    this.#switcher.replaceChildren(...options);
    this.#switcher.value = this.#workspace ?? "";
    this.#switcher.hidden = workspaces.length < 2;
    this.#name.hidden = workspaces.length > 1;
    this.#name.textContent = workspaces.find(({ slug }) => slug === this.#workspace)?.name ?? "";
  }

  #draw() {
    if (this.#renaming) return; // an edit in progress is not pulled away by news from the server
    const rows = this.#threads.map(({ slug, name, updatedAt }) => [slug, name, groupOf(updatedAt)]);
    const drawn = JSON.stringify([rows, this.#hasMore, this.#workspace, this.#current, this.#busy, this.#waiting]);
    if (drawn === this.#drawn) return; // a row that is exchanged between press and release would lose the click
    this.#drawn = drawn;
    const focused = this.#list.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const groups = new Map();
    for (const thread of this.#threads) {
      const group = groupOf(thread.updatedAt);
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(this.#row(thread));
    }
    const nodes = [...groups].map(([group, rows]) =>
      h("section", {}, h("h2", { text: t(group) }), h("ul", {}, ...rows)),
    );
    if (this.#hasMore) nodes.push(this.#moreButton());
    this.#list.replaceChildren(...(nodes.length ? nodes : [h("p", { class: "no-chats", text: t("noChats") })]));
    if (!focused) return;
    const again = this.#list.querySelector(`[data-focus="${CSS.escape(focused)}"]`);
    const end = focused === "more" ? [...this.#list.querySelectorAll("a")].at(-1) : null; // all are there, so no button is
    (again ?? end)?.focus({ preventScroll: true });
  }

  #row(thread) {
    const { slug } = thread;
    const name = thread.name || t("unnamed");
    const link = h("a", { href: hashOf(this.#workspace, slug), text: name, title: name, dir: "auto", "data-focus": `open ${slug}` });
    if (slug === this.#current) link.setAttribute("aria-current", "page");
    const rename = { "data-action": "rename", "data-focus": `rename ${slug}` };
    const remove = { "data-action": "delete", "data-focus": `delete ${slug}` };
    return h(
      "li",
      { "data-slug": slug },
      slug === this.#busy ? this.#busyIcon() : null,
      link,
      h(
        "span",
        { class: "row-actions" },
        iconButton("pencil", t("renameChat", { name }), null, rename),
        iconButton("trash", t("deleteChat", { name }), null, remove),
      ),
    );
  }

  #moreButton() {
    const more = { type: "button", class: "quiet-button more-chats", "data-action": "more", "data-focus": "more" };
    return h("button", more, h("span", { text: t("moreChats") }));
  }

  #busyIcon() {
    if (!this.#waiting) return icon("spinner");
    const words = t("waitingForYou");
    return h("span", { class: "row-waits", role: "img", title: words, "aria-label": words }, icon("hand"));
  }

  #threadOf(node) {
    const row = node.closest("li");
    return { row, thread: this.#threads.find(({ slug }) => slug === row?.dataset.slug) };
  }

  #clicked(event) {
    const action = event.target.closest("button")?.dataset.action;
    if (action === "more") this.tell("dee-more-threads");
    const { row, thread } = this.#threadOf(event.target);
    if (action === "rename") this.#rename(row, thread);
    if (action === "delete") this.tell("dee-delete", { thread });
  }

  #doubleClicked(event) {
    if (!event.target.closest("a")) return;
    const { row, thread } = this.#threadOf(event.target);
    this.#rename(row, thread);
  }

  // Enter and leaving the field keep the new name, Escape the old one.
  #rename(row, thread) {
    const field = h("input", { class: "rename", dir: "auto", value: thread.name ?? "", maxLength: 200, "aria-label": t("chatName") });
    this.#renaming = thread.slug;
    row.replaceChildren(field);
    field.select();
    const finish = (keep) => {
      if (!this.#renaming) return;
      this.#renaming = null;
      const name = field.value.trim();
      this.#drawn = "";
      if (keep && name && name !== thread.name) this.tell("dee-rename", { slug: thread.slug, name });
      this.#draw();
    };
    field.addEventListener("blur", () => finish(true));
    field.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" || event.key === "Escape") {
        finish(event.key === "Enter");
        this.#list.querySelector(`[data-focus="${CSS.escape(`rename ${thread.slug}`)}"]`)?.focus();
      }
    });
  }
}

customElements.define("dee-sidebar", DeeSidebar);
