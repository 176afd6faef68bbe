// The page: which workspace and thread are open, and what happens when a person does something.

import { api, logOut, onDamage, onLoginNeeded } from "../core/api.js";
import { now } from "../core/clock.js";
import { Conversation } from "../thread/conversation.js";
import { announce } from "../core/dom.js";
import { readDraft, writeDraft } from "../core/memory.js";
import { network } from "../stream/network.js";
import { presence } from "../stream/presence.js";
import { hashOf, readHash } from "../core/route.js";
import { scopes } from "../thread/scopes.js";
import { Shell } from "./shell.js";
import { Talk } from "../thread/talk.js";
import { Threads } from "./threads.js";
import { titleDoing, titleDone, titleName } from "./title.js";
import { t } from "../core/words.js";
import { Workspaces } from "./workspaces.js";

const LOOK_EVERY = 15_000; // for news from other tabs and devices; tabs of this browser tell each other at once

class App {
  shell = new Shell();
  workspaces = new Workspaces(this.shell);
  threads = new Threads(() => this.#show());
  /** @type {string} */
  workspace = /** @type {any} */ (null); // its slug; like the next two not there before the list of workspaces is
  /** @type {Conversation} */
  conversation = /** @type {any} */ (null);
  /** @type {Talk} */
  talk = /** @type {any} */ (null); // with the conversation
  #beginning = false;
  #looked = -Infinity; // when; coming back to a tab is several events at once
  #others = new BroadcastChannel("deechat");

  async start() {
    onLoginNeeded(() => this.shell.login.ask());
    onDamage(() => this.shell.damaged());
    this.#listen();
    await this.#begin();
  }

  async #begin() {
    if (this.#beginning) return;
    this.#beginning = true;
    try {
      await this.workspaces.load();
    } catch (error) {
      this.#beginning = false;
      const refused = error.code === "password_required";
      this.shell.notice(error.message, () => this.#begin(), refused ? t("notAllowed") : null);
      return;
    }
    this.shell.notice(null);
    this.shell.ready();
    await this.#route();
    this.workspaces.loadModels();
  }

  // -- where we are ----------------------------------------------------------------------------------------------------

  async #route() {
    const wanted = readHash();
    const slug = this.workspaces.choose(wanted.workspace);
    const moved = slug !== this.workspace;
    const thread = slug === wanted.workspace ? wanted.thread : null;
    this.workspace = slug;
    if (moved) this.threads.enter(slug);
    if (moved || this.conversation?.thread !== thread) this.#open(thread);
    await (moved ? this.#loadThreads() : this.threads.look(thread));
  }

  #open(thread) {
    this.conversation?.close();
    this.talk?.close();
    const conversation = new Conversation(this.workspace, thread);
    this.conversation = conversation;
    this.talk = new Talk(this.shell, conversation, { focus: () => this.#focus(), changed: () => this.#show() });
    this.#follow(conversation);
    this.shell.composer.error = null;
    this.shell.composer.text = readDraft(this.workspace, thread);
    this.shell.foldIfNarrow();
    titleDone({ told: true });
    this.#show();
    this.shell.messages.toBottom();
    this.#focus();
    conversation.load();
  }

  // On a phone the keyboard would jump up.
  #focus() {
    if (matchMedia("(hover: hover)").matches) this.shell.composer.focus();
  }

  #follow(conversation) {
    const on = (name, listener) =>
      conversation.addEventListener(name, ({ detail }) => conversation === this.conversation && listener(detail));
    on("change", () => this.#show());
    on("frame", ({ item }) => this.shell.messages.refresh(item));
    on("created", ({ thread }) => {
      writeDraft(this.workspace, null, "");
      this.threads.items = [thread, ...this.threads.items];
      history.replaceState(null, "", hashOf(this.workspace, thread.slug));
      this.#show();
    });
    on("renamed", (thread) => this.#named(thread));
    on("started", () => this.#changed());
    on("asked", () => {
      scopes.load(this.workspace);
      announce(t("agentWaits"));
      setTimeout(() => this.shell.messages.showRequest(), 100); // when it is drawn
    });
    on("ended", ({ item }) => {
      titleDone({ told: item.message.ending?.reason === "stopped" });
      announce(t("answerDone"));
      this.#changed();
      this.workspaces.answeredBy(item.message);
    });
    on("gone", () => this.#gone());
    on("trouble", ({ error }) => this.shell.toast(error.message));
  }

  #gone() {
    this.shell.toast(t("threadGone"));
    location.hash = hashOf(this.workspace);
    this.#loadThreads();
  }

  // -- showing it ------------------------------------------------------------------------------------------------------

  #show() {
    const { items, running, waiting, thread, hasOlder } = this.conversation;
    const { shell } = this;
    const current = this.threads.find(thread);
    shell.empty = !thread && items.length === 0;
    shell.messages.items = items;
    shell.messages.hasOlder = hasOlder;
    shell.composer.running = running !== null;
    shell.composer.stopping = running?.stopping ?? false;
    shell.composer.waiting = waiting;
    shell.composer.queue = this.talk.queue;
    shell.sidebar.hasMore = this.threads.hasMore;
    shell.sidebar.threads = this.threads.items;
    shell.sidebar.current = thread;
    shell.sidebar.busy = running ? thread : null;
    shell.sidebar.waiting = waiting;
    shell.title = thread ? (current?.name ?? (this.threads.listed ? t("unnamed") : "")) : t("newChat");
    titleName(thread ? (current?.name ?? null) : null);
    titleDoing(waiting ? "waiting" : running && "running");
  }

  #named({ slug, name }) {
    this.threads.items = this.threads.items.map((thread) => (thread.slug === slug ? { ...thread, name } : thread));
    this.#show();
  }

  // -- what the server has ---------------------------------------------------------------------------------------------

  #loadThreads() {
    return this.threads.load(this.conversation.thread);
  }

  // Something changed here: the list's order, and what other tabs of this browser show.
  #changed() {
    this.#loadThreads();
    this.#others.postMessage({ workspace: this.workspace, thread: this.conversation.thread });
  }

  #look() {
    if (document.visibilityState !== "visible" || now() - this.#looked < 1000) return;
    this.#looked = now();
    if (!this.conversation) {
      this.#begin(); // the server was away when the page came
      return;
    }
    this.#loadThreads();
    this.conversation.refresh();
    this.workspaces.lookForModel();
  }

  // -- what a person does ----------------------------------------------------------------------------------------------

  #listen() {
    const { shell } = this;
    const on = (name, listener) => document.addEventListener(name, ({ detail }) => listener(detail));
    on("dee-send", ({ text }) => this.talk.send(text));
    on("dee-steer", ({ text }) => this.talk.steer(text));
    on("dee-queue", ({ text }) => this.talk.queueUp(text));
    on("dee-queue-edit", (change) => this.talk.edit(change));
    on("dee-queue-remove", (which) => this.talk.remove(which));
    on("dee-queue-editing", (state) => this.talk.editing(state));
    on("dee-queue-send", () => this.talk.release());
    on("dee-stop", () => this.conversation.stop());
    on("dee-retry", ({ item }) => this.talk.retry(item));
    on("dee-continue", ({ item }) => this.talk.goOn(item));
    on("dee-respond", ({ requestId, body }) => this.conversation.inputs.respond(requestId, body));
    on("dee-card-done", () => this.#focus());
    on("dee-to-request", () => shell.messages.toRequest());
    on("dee-turn", ({ item, step }) => this.conversation.turn(item, step));
    on("dee-result", ({ part }) => this.conversation.loadResult(part));
    on("dee-older", () => this.conversation.loadOlder());
    on("dee-draft", ({ text }) => writeDraft(this.workspace, this.conversation.thread, text));
    on("dee-more-threads", () => this.threads.loadMore().catch((error) => shell.toast(error.message)));
    on("dee-new", () => this.#newChat());
    on("dee-workspace", ({ slug }) => (location.hash = hashOf(slug)));
    on("dee-rename", (change) => this.#rename(change));
    on("dee-delete", ({ thread }) => this.#delete(thread));
    on("dee-settings", () => this.workspaces.openSettings());
    on("dee-log-out", () => logOut().then(() => location.reload(), ({ message }) => shell.toast(message)));
    addEventListener("hashchange", () => this.workspaces.loaded && this.#route());
    document.addEventListener("visibilitychange", () => this.#look());
    for (const name of ["focus", "pageshow", "online"]) addEventListener(name, () => this.#look());
    setInterval(() => this.#look(), LOOK_EVERY);
    network.addEventListener("held", () => shell.showHeldBack());
    this.#others.addEventListener("message", ({ data }) => {
      if (data.workspace !== this.workspace || presence.away) return; // coming back looks for news anyway
      this.#loadThreads();
      if (data.thread === this.conversation?.thread) this.conversation.refresh();
    });
    shell.empty = true;
  }

  #newChat() {
    if (this.conversation?.thread) location.hash = hashOf(this.workspace);
    this.shell.foldIfNarrow();
    this.#focus();
  }

  async #rename({ slug, name }) {
    this.#named({ slug, name });
    try {
      await api.renameThread(this.workspace, slug, name);
    } catch (error) {
      this.shell.toast(error.message);
    }
    this.#changed();
  }

  async #delete(thread) {
    const name = thread.name || t("unnamed");
    const sure = { title: t("deleteTitle"), body: t("deleteBody", { name }), yes: t("delete") };
    if (!(await this.shell.confirm.ask(sure))) return;
    const open = this.conversation.thread === thread.slug;
    if (open) this.conversation.close(); // what the deleting does to its run is no news
    try {
      await api.deleteThread(this.workspace, thread.slug);
    } catch (error) {
      if (open && error.status !== 404) this.#open(thread.slug);
      if (error.status !== 404) return this.shell.toast(error.message);
    }
    writeDraft(this.workspace, thread.slug, "");
    this.threads.items = this.threads.items.filter(({ slug }) => slug !== thread.slug);
    if (this.conversation.thread === thread.slug) location.hash = hashOf(this.workspace);
    this.#show();
    this.#changed();
  }
}

new App().start();
