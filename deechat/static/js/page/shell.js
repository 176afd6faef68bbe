// The page's frame: sidebar, head, messages, composer, dialogs. Builds the nodes and knows where they are; what they do is
// the business of app.js.

import { announce, h, html, icon, iconButton, nothing, render } from "../core/dom.js";
import { readFolded, writeFolded } from "../core/memory.js";
import { t } from "../core/words.js";
import { DeeComposer } from "../elements/dee-composer.js";
import { DeeConfirm, DeeLogin } from "../elements/dee-dialogs.js";
import { DeeMessages } from "../elements/dee-messages.js";
import { DeeSettings } from "../elements/dee-settings.js";
import { DeeSidebar } from "../elements/dee-sidebar.js";
import { DeeWelcome } from "../elements/dee-welcome.js";

const NARROW = matchMedia("(max-width: 800px)");
const TOAST = 6000;

export class Shell {
  sidebar = new DeeSidebar();
  messages = new DeeMessages();
  welcome = new DeeWelcome();
  composer = new DeeComposer();
  confirm = new DeeConfirm();
  login = new DeeLogin();
  settings = new DeeSettings();
  #head = h("header", { class: "head" });
  #shown = { folded: false, title: "", label: "", provider: "", pieces: false }; // in the head
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
    const stage = h("main", { class: "stage" }, this.#head, this.#damaged, this.#notice, this.welcome, this.messages, this.composer, this.#toast);
    const announcer = h("div", { id: "announcer", class: "visually-hidden", role: "status", "aria-live": "polite" });
    this.#root.append(skip, this.sidebar, backdrop, stage);
    document.body.append(this.#root, this.confirm, this.login, this.settings, announcer);
    this.sidebar.addEventListener("dee-close", () => this.fold(true));
    addEventListener("keydown", (event) => event.key === "Escape" && NARROW.matches && this.fold(true));
    NARROW.addEventListener("change", () => this.#fit());
    this.#fit();
  }

  #drawHead(changed) {
    const { folded, title, label, provider, pieces } = Object.assign(this.#shown, changed);
    const words = t("heldBack");
    const open = { kind: "open-sidebar", hidden: !folded };
    render(
      html`${iconButton("sidebar", t("openSidebar"), () => this.fold(false), open)}
        ${iconButton("plus", t("newChat"), () => this.sidebar.tell("dee-new"), { kind: "compose", hidden: !folded })}
        <h1 dir="auto">${title}</h1>
        <span class="pieces" tabindex="0" role="note" title=${words} aria-label=${words} ?hidden=${!pieces}
          >${icon("pieces")}<span>${t("heldBackShort")}</span></span>
        <button type="button" class="chip" title=${t("settings")} data-provider=${provider} ?hidden=${!label}
          @click=${() => this.sidebar.tell("dee-settings")}><span class="dot"></span><span>${label}</span>${icon("chevron")}</button>`,
      this.#head,
    );
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
    this.#drawHead({ folded });
  }

  set title(title) {
    this.#drawHead({ title });
  }

  // The model that will answer next; a click leads to where it is chosen.
  set chip({ model, provider }) {
    this.#drawHead({ label: model ?? provider ?? "", provider: provider ?? "" });
  }

  // Says that streams do not come through, so that answers come in pieces.
  showHeldBack() {
    this.#drawHead({ pieces: true });
    announce(t("heldBack"));
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

  /**
   * Takes the place of everything when the page can't be used. Null words: it is over.
   * @param {string | null} words
   * @param {(() => void) | null} retry without it there is no button
   * @param {string | null} title
   */
  notice(words, retry = null, title = null) {
    this.#notice.hidden = !words;
    this.#root.classList.toggle("unusable", Boolean(words));
    const again = html`<button type="button" class="button primary" @click=${retry}>${t("retry")}</button>`;
    render(
      html`${icon("plug")}${title ? html`<h2>${title}</h2>` : nothing}<p>${words}</p>${retry ? again : nothing}`,
      this.#notice,
    );
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
