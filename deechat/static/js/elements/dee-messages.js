// The list of messages and its scrolling. Data down: `items`, `hasOlder`, `refresh(item)`, `toBottom()`, `toRequest()`. Events up:
// "dee-older".
//
// While a person is at the bottom the list stays there as it grows; the first step up leaves it alone, and a button leads
// back.

import { DeeElement, h, icon, place } from "../core/dom.js";
import { t } from "../core/words.js";
import { DeeAnswer } from "./dee-answer.js";
import { DeePrompt } from "./dee-prompt.js";

const NEAR = 32; // pixels from the bottom that still count as the bottom
const OPEN_REQUEST = ".request:not(.done)";
const FAR = 160; // from here on the button shows
const BUTTON = 60; // what it takes of the lower edge

export class DeeMessages extends DeeElement {
  #nodes = new Map(); // item key → node
  #list = h("div", { class: "messages", role: "log", "aria-live": "off", "aria-label": t("conversation") });
  #older = h("button", { type: "button", class: "older quiet-button", text: t("loadOlder"), hidden: true });
  #scroller = h("div", { class: "scroller", tabIndex: -1 }, h("div", { class: "column" }, this.#older, this.#list));
  #jump = h("button", { type: "button", class: "jump", hidden: true }, icon("down"), h("span", { text: t("jumpToLatest") }));
  #pinned = true;
  #top = 0;
  #height = 0;

  connected(signal) {
    if (!this.firstChild) this.append(this.#scroller, this.#jump);
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { signal, passive: true });
    this.#jump.addEventListener("click", () => this.toBottom(), { signal });
    this.#list.addEventListener("click", (event) => this.#clicked(event), { signal });
    this.#older.addEventListener("click", () => this.tell("dee-older"), { signal });
    const grown = new ResizeObserver(() => this.#grown());
    grown.observe(this.#list);
    grown.observe(this.#scroller);
    signal.addEventListener("abort", () => grown.disconnect());
  }

  set hasOlder(hasOlder) {
    this.#older.hidden = !hasOlder;
  }

  set items(items) {
    const before = this.#list.scrollHeight;
    const first = this.#list.firstElementChild;
    const nodes = items.map((item) => this.#nodes.get(item.key) ?? this.#make(item));
    this.#nodes = new Map(items.map((item, index) => [item.key, nodes[index]]));
    place(this.#list, nodes);
    for (const node of nodes) {
      if (node instanceof DeeAnswer) node.last = node === nodes.at(-1);
      else node.refresh();
    }
    const prepended = first?.isConnected && first !== nodes[0] && !this.#pinned;
    if (prepended) this.#scroller.scrollTop += this.#list.scrollHeight - before;
  }

  refresh(item) {
    this.#nodes.get(item.key)?.refresh?.();
  }

  toBottom() {
    this.#pinned = true;
    this.#grown();
  }

  #make(item) {
    return Object.assign(item.role === "assistant" ? new DeeAnswer() : new DeePrompt(), { item });
  }

  // Leads to the request that waits for an answer.
  toRequest() {
    const card = this.#request;
    if (!card) return;
    this.#pinned = false;
    card.scrollIntoView({ block: "nearest" });
    /** @type {HTMLElement | null} */
    const control = card.querySelector("input, textarea:not([hidden])") ?? card.querySelector(".primary");
    control?.focus({ preventScroll: true });
  }

  // Shows a new request from its beginning, where it is larger than the window.
  showRequest() {
    const card = this.#request;
    if (!card || !this.#pinned || card.offsetHeight < this.#scroller.clientHeight - NEAR) return;
    this.#pinned = false;
    card.scrollIntoView({ block: "start" });
  }

  /** @returns {HTMLElement | null} */
  get #request() {
    return this.#list.querySelector(OPEN_REQUEST);
  }

  #distance() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  // A step up is a person's: what the page itself does leads down, and a list that became shorter is no step.
  #scrolled() {
    const { scrollTop, scrollHeight } = this.#scroller;
    if (scrollTop < this.#top - 1 && scrollHeight >= this.#height) this.#pinned = false;
    if (this.#distance() < NEAR && scrollTop >= this.#top) this.#pinned = true;
    this.#note();
  }

  // Who unfolds a card wants to read it where it is.
  #clicked(event) {
    if (event.target.closest("summary")) this.#pinned = false;
  }

  #grown() {
    if (this.#pinned) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#note();
  }

  #note() {
    this.#top = this.#scroller.scrollTop;
    this.#height = this.#scroller.scrollHeight;
    this.#jump.hidden = this.#pinned || this.#distance() < FAR || this.#endsInRequest();
  }

  // Whether what stands at the lower edge, where the button would lie, waits for an answer.
  #endsInRequest() {
    const { bottom } = this.#scroller.getBoundingClientRect();
    return [...this.#list.querySelectorAll(OPEN_REQUEST)].some((card) => {
      const box = card.getBoundingClientRect();
      return box.top < bottom && box.bottom > bottom - BUTTON;
    });
  }
}

customElements.define("dee-messages", DeeMessages);
