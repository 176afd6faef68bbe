// Small helpers for building nodes: `html` and `draw` for what is drawn again and again, `h` for what is built once. Text
// always goes in as text, never as HTML. The only importer of lit-html.

import { html, nothing, render } from "../../vendor/lit-html.js";
import { t } from "./words.js";

export { html, nothing, render };

/**
 * Makes an element. In `props`, `class`, `text`, `on` ({event: listener}) and names with a dash are special; null leaves
 * one out; everything else is set as a property.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [props]
 * @param {...any} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) set(node, name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map(nodeOf));
  return node;
}

// A child as a node: a template of lit-html is drawn, once.
function nodeOf(child) {
  if (typeof child === "string" || child instanceof Node) return child;
  const fragment = document.createDocumentFragment();
  render(child, fragment);
  return fragment;
}

function set(node, name, value) {
  if (value === null || value === undefined) return;
  if (name === "class") node.className = value;
  else if (name === "text") node.textContent = value;
  else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
  else if (name.includes("-") || name === "role") node.setAttribute(name, value);
  else node[name] = value;
}

// A picture from the sprite in the page; it says nothing to a screen reader, its button's label does.
export const icon = (name) => html`<svg class="icon" aria-hidden="true"><use href="#icon-${name}"></use></svg>`;

// `kind`: more classes.
export function iconButton(name, label, onClick, { kind = "", hidden = false, disabled = false } = {}) {
  return html`<button
    type="button" class="icon-button ${kind}" title=${label} aria-label=${label}
    ?hidden=${hidden} ?disabled=${disabled} @click=${onClick}>${icon(name)}</button>`;
}

/**
 * Makes these nodes the children, in this order. One that stays where it is is not touched, and the focus stays in it.
 * @param {Element} parent
 * @param {Element[]} nodes
 */
export function place(parent, nodes) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const inside = parent.contains(focused);
  for (const child of [...parent.children]) if (!nodes.includes(child)) child.remove();
  for (const [index, node] of nodes.entries()) {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  }
  if (inside && parent.contains(focused)) focused?.focus({ preventScroll: true });
}

// The base of the page's elements: what `connected(signal)` listens to outside of itself ends with the signal.
export class DeeElement extends HTMLElement {
  /** @type {AbortController | null} */
  #leaving = null;

  connectedCallback() {
    const leaving = (this.#leaving = new AbortController());
    this.connected(leaving.signal);
  }

  disconnectedCallback() {
    this.#leaving?.abort();
    this.#leaving = null;
    this.disconnected();
  }

  /** @param {AbortSignal} _signal */
  connected(_signal) {}

  disconnected() {}

  // Shows a template in the element. What is drawn already and is the same stays as it is.
  draw(template) {
    render(template, this);
  }

  // Tells the elements above; `detail` is data, never a node.
  tell(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  }
}

// Says something to screen readers, once, when they are free.
export function announce(text) {
  const region = document.getElementById("announcer");
  if (region) region.textContent = text;
}

// Copies text; shows on the button of the click that it worked. Off HTTPS and localhost browsers have no clipboard API, so there a
// selection is copied instead.
export async function copyFrom({ currentTarget: button }, text) {
  const worked = await copy(text);
  const label = t(worked ? "copied" : "copyFailed");
  button.classList.toggle("done", worked);
  button.title = label;
  announce(label);
  setTimeout(() => {
    button.classList.remove("done");
    button.title = button.getAttribute("aria-label") ?? "";
  }, 1600);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { value: text, class: "visually-hidden", readOnly: true });
    document.body.append(area);
    area.select();
    const worked = document.execCommand("copy");
    area.remove();
    return worked;
  }
}

// A random id; `crypto.randomUUID` is missing off HTTPS and localhost.
export function uid() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
