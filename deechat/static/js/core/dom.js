// Small helpers for building nodes. Text always goes in as text, never as HTML.

import { t } from "./words.js";

// Makes an element. In `props`, `class`, `text`, `on` ({event: listener}) and names with a dash are special; a value of
// true sets an empty attribute, false and null leave it out; everything else is set as a property.
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) set(node, name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function set(node, name, value) {
  if (value === null || value === undefined) return;
  if (name === "class") node.className = value;
  else if (name === "text") node.textContent = value;
  else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
  else if (name.includes("-") || name === "role") node.setAttribute(name, value);
  else node[name] = value;
}

const SVG = "http://www.w3.org/2000/svg";

// A picture from the sprite in the page; it says nothing to a screen reader, its button's label does.
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

export function iconButton(name, label, onClick, props = {}) {
  const { class: extra = "", ...rest } = props;
  const button = h("button", { type: "button", class: `icon-button ${extra}`, title: label, "aria-label": label, ...rest });
  button.append(icon(name));
  if (onClick) button.addEventListener("click", onClick);
  return button;
}

// The base of the page's elements: what `connected(signal)` listens to outside of itself ends with the signal.
export class DeeElement extends HTMLElement {
  #leaving = null;

  connectedCallback() {
    this.#leaving = new AbortController();
    this.connected(this.#leaving.signal);
  }

  disconnectedCallback() {
    this.#leaving?.abort();
    this.#leaving = null;
    this.disconnected();
  }

  connected(_signal) {}

  disconnected() {}

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

// Copies text; shows on the button that it worked. Off HTTPS and localhost browsers have no clipboard API, so there a
// selection is copied instead.
export async function copyFrom(button, text) {
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
