// What a yes for good to a tool holds for, in the workspace that is open: a tool may ask for each of its scopes, such as
// hosts, by itself. Known once somebody was asked; "change" says so.

import { api } from "../core/api.js";

class Scopes extends EventTarget {
  #words = new Map(); // tool's name → its word for a scope; null where a yes is for the tool as a whole

  async load(workspace) {
    try {
      const tools = await api.tools(workspace);
      this.#words = new Map(tools.map(({ name, scope }) => [name, scope ?? null]));
    } catch {
      return; // the card works without these words
    }
    this.dispatchEvent(new Event("change"));
  }

  // The word; null for the tool as a whole, undefined while it is not known.
  of(name) {
    return this.#words.get(name);
  }
}

export const scopes = new Scopes();
