// The list of chats. Data down: `threads`, `hasMore` (whether there are older ones), `current` (a slug or null),
// `workspaces`, `workspace` (a slug), `busy` (the slug of a thread whose answer is being made), `waiting` (whether that one
// waits for the person). Events up: "dee-new", "dee-rename" {slug, name}, "dee-delete" {thread}, "dee-more-threads",
// "dee-workspace" {slug}, "dee-settings", "dee-log-out", "dee-close".

import { DeeElement, html, icon, iconButton, nothing, render } from "../core/dom.js";
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

export class DeeSidebar extends DeeElement {
  #threads = [];
  #hasMore = false;
  #current = null;
  #workspaces = [];
  #workspace = null;
  #busy = null;
  #waiting = false;
  #renaming = false;
  #rows = new Map(); // slug → li

  connected() {
    this.#draw();
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
    this.#busy = slug;
    this.#draw();
  }

  set waiting(waiting) {
    this.#waiting = waiting;
    this.#draw();
  }

  set workspace(slug) {
    this.#workspace = slug; // drawn with the workspaces, likewise
  }

  set workspaces(workspaces) {
    this.#workspaces = workspaces;
    this.#draw();
    this.#switcher.value = this.#workspace ?? "";
  }

  /** @returns {HTMLSelectElement} */
  get #switcher() {
    return /** @type {any} */ (this.querySelector(".workspace-switcher"));
  }

  #draw() {
    if (this.#renaming) return; // an edit in progress is not pulled away by news from the server
    const focused = /** @type {HTMLElement | null} */ (this.contains(document.activeElement) ? document.activeElement : null);
    const many = this.#workspaces.length > 1;
    this.draw(html`
      <div class="sidebar-head">
        <span class="logo">${icon("logo")}</span><strong>${t("appName")}</strong>
        ${iconButton("sidebar", t("closeSidebar"), () => this.tell("dee-close"), { kind: "close-sidebar" })}
      </div>
      <button type="button" class="new-chat" @click=${() => this.tell("dee-new")}>${icon("plus")}<span>${t("newChat")}</span></button>
      <nav class="threads" aria-label=${t("chats")}>${this.#list()}${this.#hasMore ? this.#moreButton() : nothing}</nav>
      <div class="sidebar-foot">
        <div class="workspace">
          <span class="workspace-name" dir="auto" ?hidden=${many}>${this.#workspaces.find(({ slug }) => slug === this.#workspace)?.name}</span>
          <select class="workspace-switcher" aria-label=${t("workspace")} ?hidden=${!many}
            @change=${() => this.tell("dee-workspace", { slug: this.#switcher.value })}>
            ${this.#workspaces.map(({ slug, name }) => html`<option value=${slug} dir="auto">${name}</option>`)}
          </select>
        </div>
        ${iconButton("settings", t("settings"), () => this.tell("dee-settings"))}
        ${iconButton("leave", t("logOut"), () => this.tell("dee-log-out"), { hidden: !("guarded" in document.body.dataset) })}
      </div>
    `);
    if (!focused || focused === document.activeElement) return;
    // A row that went elsewhere takes the focus along. The button for more goes when all are there.
    const last = /** @type {HTMLElement | undefined} */ ([...this.querySelectorAll(".threads a")].at(-1));
    if (focused.isConnected) focused.focus({ preventScroll: true });
    else if (focused.matches(".more-chats")) last?.focus({ preventScroll: true });
  }

  // The chats by groups of days. A chat has one row for good, wherever it stands: a click must not come to another one.
  #list() {
    if (!this.#threads.length && !this.#hasMore) return html`<p class="no-chats">${t("noChats")}</p>`;
    this.#rows = new Map(this.#threads.map(({ slug }) => [slug, this.#rows.get(slug) ?? document.createElement("li")]));
    const groups = new Map();
    for (const thread of this.#threads) {
      const group = groupOf(thread.updatedAt);
      groups.set(group, [...(groups.get(group) ?? []), this.#row(thread)]);
    }
    return [...groups].map(([group, rows]) => html`<section><h2>${t(group)}</h2><ul>${rows}</ul></section>`);
  }

  #row(thread) {
    const { slug } = thread;
    const row = this.#rows.get(slug);
    const name = thread.name || t("unnamed");
    const rename = () => this.#rename(row, thread);
    render(
      html`${slug === this.#busy ? this.#busyIcon() : nothing}<a href=${hashOf(this.#workspace, slug)} title=${name} dir="auto"
        aria-current=${slug === this.#current ? "page" : nothing} @dblclick=${rename}>${name}</a
      ><span class="row-actions">${iconButton("pencil", t("renameChat", { name }), rename)}${iconButton("trash", t("deleteChat", { name }), () =>
        this.tell("dee-delete", { thread }),
      )}</span>`,
      row,
    );
    return row;
  }

  #moreButton() {
    return html`<button type="button" class="quiet-button more-chats" @click=${() => this.tell("dee-more-threads")}>
      <span>${t("moreChats")}</span>
    </button>`;
  }

  #busyIcon() {
    if (!this.#waiting) return icon("spinner");
    const words = t("waitingForYou");
    return html`<span class="row-waits" role="img" title=${words} aria-label=${words}>${icon("hand")}</span>`;
  }

  // Enter and leaving the field keep the new name, Escape the old one.
  #rename(row, { slug, name }) {
    const finish = (keep) => {
      if (!this.#renaming) return;
      this.#renaming = false;
      const wanted = field.value.trim();
      if (keep && wanted && wanted !== name) this.tell("dee-rename", { slug, name: wanted });
      this.#draw();
    };
    const key = (event) => {
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      finish(event.key === "Enter");
      row.querySelector("button")?.focus();
    };
    this.#renaming = true;
    render(
      html`<input class="rename" dir="auto" maxlength="200" aria-label=${t("chatName")} .value=${name ?? ""}
        @blur=${() => finish(true)} @keydown=${key} />`,
      row,
    );
    const field = row.querySelector("input");
    field.select();
  }
}

customElements.define("dee-sidebar", DeeSidebar);
