// The page's frame: sidebar, head, messages, composer, dialogs. Builds the nodes and knows where they are; what they do is
// the business of app.js.

import { announce, h, icon, iconButton } from "../core/dom.js";
import { readFolded, writeFolded } from "../core/memory.js";
import { t } from "../core/words.js";
import "../elements/dee-composer.js";
import "../elements/dee-dialogs.js";
import "../elements/dee-messages.js";
import "../elements/dee-settings.js";
import "../elements/dee-sidebar.js";
import "../elements/dee-welcome.js";

const NARROW = matchMedia("(max-width: 800px)");
const TOAST = 6000;

export class Shell {
  sidebar = document.createElement("dee-sidebar");
  messages = document.createElement("dee-messages");
  welcome = document.createElement("dee-welcome");
  composer = document.createElement("dee-composer");
  confirm = document.createElement("dee-confirm");
  login = document.createElement("dee-login");
  settings = document.createElement("dee-settings");
  #title = h("h1", { dir: "auto" });
  #chip = h("button", { type: "button", class: "chip", hidden: true });
  #pieces = h("span", { class: "pieces", tabIndex: 0, role: "note", hidden: true });
  #menu = iconButton("sidebar", t("openSidebar"), () => this.fold(false), { class: "open-sidebar" });
  #compose = iconButton("plus", t("newChat"), () => this.sidebar.tell("dee-new"), { class: "compose" });
  #notice = h("div", { class: "notice", role: "alert", hidden: true });
  #damaged = h("p", { class: "damaged", role: "alert", hidden: true, text: t("storageDamaged") });
  #toast = h("div", { class: "toast", role: "status", hidden: true });
  #toastTimer = 0;
  #root = h("div", { class: "shell loading" });

  constructor() {
    const skip = h("a", { class: "skip", href: "#message", text: t("skipToComposer") });
    skip.addEventListener("click", (event) => {
      event.preventDefault(); // the hash is the thread's
      this.composer.focus();
    });
    const backdrop = h("div", { class: "backdrop", on: { click: () => this.fold(true) } });
    this.#chip.addEventListener("click", () => this.sidebar.tell("dee-settings"));
    const head = h("header", { class: "head" }, this.#menu, this.#compose, this.#title, this.#pieces, this.#chip);
    const stage = h("main", { class: "stage" }, head, this.#damaged, this.#notice, this.welcome, this.messages, this.composer, this.#toast);
    const announcer = h("div", { id: "announcer", class: "visually-hidden", role: "status", "aria-live": "polite" });
    this.#root.append(skip, this.sidebar, backdrop, stage);
    document.body.append(this.#root, this.confirm, this.login, this.settings, announcer);
    this.sidebar.addEventListener("dee-close", () => this.fold(true));
    addEventListener("keydown", (event) => event.key === "Escape" && NARROW.matches && this.fold(true));
    NARROW.addEventListener("change", () => this.#fit());
    this.#fit();
  }

  // On a narrow screen the sidebar lies over the page and starts folded; on a wide one the browser remembers.
  #fit() {
    this.#apply(NARROW.matches || readFolded());
  }

  fold(folded) {
    if (!NARROW.matches) writeFolded(folded);
    this.#apply(folded);
    if (!folded && NARROW.matches) this.sidebar.querySelector("button")?.focus({ preventScroll: true });
  }

  foldIfNarrow() {
    if (NARROW.matches) this.#apply(true);
  }

  #apply(folded) {
    this.#root.classList.toggle("folded", folded);
    this.sidebar.inert = folded;
    this.#menu.hidden = !folded;
    this.#compose.hidden = !folded;
  }

  set title(name) {
    this.#title.textContent = name;
  }

  // The model that will answer next; a click leads to where it is chosen.
  set chip({ model, provider }) {
    const label = model ?? provider;
    this.#chip.hidden = !label;
    this.#chip.dataset.provider = provider ?? "";
    this.#chip.title = t("settings");
    this.#chip.replaceChildren(h("span", { class: "dot" }), h("span", { text: label ?? "" }), icon("chevron"));
  }

  // Says that streams do not come through, so that answers come in pieces.
  showHeldBack() {
    const words = t("heldBack");
    Object.assign(this.#pieces, { hidden: false, title: words });
    this.#pieces.setAttribute("aria-label", words);
    this.#pieces.replaceChildren(icon("pieces"), h("span", { text: t("heldBackShort") }));
    announce(words);
  }

  // Either the greeting or the messages.
  set empty(empty) {
    this.welcome.hidden = !empty;
    this.messages.hidden = empty;
    this.#root.classList.toggle("empty", empty);
  }

  // Before it is known what to show, there is nothing to type into: a draft would be written over.
  ready() {
    this.#root.classList.remove("loading");
  }

  // Takes the place of everything when the page can't be used; `retry` null: no button. Null words: it is over.
  notice(words, retry = null, title = null) {
    this.#notice.hidden = !words;
    this.#root.classList.toggle("unusable", Boolean(words));
    const again = retry && h("button", { type: "button", class: "button primary", text: t("retry"), on: { click: retry } });
    const nodes = [icon("plug"), title && h("h2", { text: title }), h("p", { text: words ?? "" }), again];
    this.#notice.replaceChildren(...nodes.filter(Boolean));
  }

  // From then on it stays: a list may lack what cannot be read.
  damaged() {
    this.#damaged.hidden = false;
  }

  toast(words) {
    clearTimeout(this.#toastTimer);
    this.#toast.textContent = words;
    this.#toast.hidden = false;
    this.#toastTimer = setTimeout(() => (this.#toast.hidden = true), TOAST);
  }
}
