// The list of chats, newest activity first. The server tells it in pages: what is new stands on the first, which is
// asked for again and again; those behind it come when a person wants them.

import { api } from "../core/api.js";

const PAGE = 60;

// The list with a newer first page in it, and the cursor behind it. What is older than the page stays as it is known,
// unless so much has happened that there may be something between.
export function withFirst({ threads, next }, page) {
  if (!page.next) return { threads: page.threads, next: null };
  const listed = new Set(page.threads.map(({ slug }) => slug));
  const end = page.threads.at(-1).updatedAt;
  const older = threads.filter(({ slug, updatedAt }) => !listed.has(slug) && updatedAt <= end);
  const goesOn = next && older.length > 0 && threads.some(({ slug }) => listed.has(slug));
  return goesOn ? { threads: [...page.threads, ...older], next } : { threads: page.threads, next: page.next };
}

// The list with the page that its cursor led to.
export function withNext({ threads }, page) {
  const listed = new Set(page.threads.map(({ slug }) => slug));
  return { threads: [...threads.filter(({ slug }) => !listed.has(slug)), ...page.threads], next: page.next ?? null };
}

// The list with a chat that is open and was on none of its pages.
export function withOpen({ threads, next }, thread) {
  if (threads.some(({ slug }) => slug === thread.slug)) return { threads, next };
  const place = threads.filter(({ updatedAt }) => updatedAt >= thread.updatedAt).length;
  return { threads: [...threads.slice(0, place), thread, ...threads.slice(place)], next };
}

export class Threads {
  items = [];
  listed = false; // whether the first page came yet
  #workspace = null;
  #open = null; // the slug of the chat that is looked at
  #next = null;
  #asked = 0; // how often the first page was asked for
  #changed;

  // `changed()` is called when the list is another one.
  constructor(changed) {
    this.#changed = changed;
  }

  get hasMore() {
    return this.#next !== null;
  }

  find(slug) {
    return this.items.find((thread) => thread.slug === slug);
  }

  // Another workspace's list, of which nothing is known yet.
  enter(workspace) {
    Object.assign(this, { items: [], listed: false });
    this.#workspace = workspace;
    this.#next = null;
  }

  // Says nothing when the server is away: the next look brings what is new.
  async load(open) {
    this.#open = open;
    const asked = (this.#asked += 1);
    try {
      const page = await api.threads(this.#workspace, { limit: PAGE });
      if (asked !== this.#asked) return; // a later question has a newer answer
      this.listed = true;
      this.#take(withFirst(this.#known, page));
      await this.look(this.#open);
    } catch {
      // likewise
    }
  }

  // Rejects with `ApiError`.
  async loadMore() {
    const workspace = this.#workspace;
    const page = await api.threads(workspace, { limit: PAGE, after: this.#next });
    if (workspace === this.#workspace) this.#take(withNext(this.#known, page));
  }

  // The chat that is looked at may be an old one, on a page that nobody has asked for.
  async look(open) {
    this.#open = open;
    const workspace = this.#workspace;
    if (!open || !this.listed || !this.hasMore || this.find(open)) return;
    try {
      const thread = await api.thread(workspace, open);
      if (workspace === this.#workspace) this.#take(withOpen(this.#known, thread));
    } catch {
      // the conversation says what is wrong
    }
  }

  get #known() {
    return { threads: this.items, next: this.#next };
  }

  #take({ threads, next }) {
    this.items = threads;
    this.#next = next;
    this.#changed();
  }
}
