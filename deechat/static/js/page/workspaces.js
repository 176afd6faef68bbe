// The workspaces, the models that they may use, and the dialog that changes them.

import { api } from "../core/api.js";
import { now } from "../core/clock.js";
import { hashOf } from "../core/route.js";
import { t } from "../core/words.js";

const OLD = 120_000;

export class Workspaces {
  #shell;
  #list = [];
  #models = { models: [], provider: null, current: null };
  #current = null; // a slug
  #asked = -Infinity; // when the models were asked for
  #model = null; // the one whose habits the dialog shows

  constructor(shell) {
    this.#shell = shell;
    shell.settings.addEventListener("dee-save", ({ detail }) => this.#save(detail.fields));
    shell.settings.addEventListener("dee-new-workspace", () => this.#make());
    shell.settings.addEventListener("dee-delete-workspace", () => this.#delete());
    shell.settings.addEventListener("dee-model", ({ detail }) => this.#showHabits(detail.model, () => api.profile(detail.model)));
    shell.settings.addEventListener("dee-forget", ({ detail }) => this.#forget(detail));
  }

  get loaded() {
    return this.#list.length > 0;
  }

  // Rejects with `ApiError`.
  async load() {
    this.#list = await api.workspaces();
  }

  // While no model is connected, one may be at any time: the server looks for one by itself. Else they seldom change.
  lookForModel() {
    if (this.#models.provider === "offline" || now() - this.#asked > OLD) this.loadModels();
  }

  // An answer that failed, or that another model gave than the one which is shown, says that the models have changed.
  answeredBy({ model, ending }) {
    if (ending?.reason === "failed" || (model && model !== this.#shown)) this.loadModels();
  }

  // The workspace's model, if there is one and it can answer: a server that was found by itself answers for another
  // one's models with its own.
  get #shown() {
    const { models, current, found, provider } = this.#models;
    const wanted = this.#workspace()?.model;
    const isAny = !found || models.length === 0;
    const isThere = provider !== "offline" && (isAny || models.some(({ id }) => id === wanted));
    return wanted && isThere ? wanted : current;
  }

  async loadModels() {
    this.#asked = now();
    try {
      this.#models = await api.models();
    } catch {
      return; // the model server may be away; the page works without its list
    }
    this.#show();
  }

  // Makes the workspace with the slug the current one, or the first where there is none. Gives its slug.
  choose(slug) {
    const known = this.#list.find((workspace) => workspace.slug === slug) ?? this.#list[0];
    this.#current = known.slug;
    this.#show();
    return known.slug;
  }

  openSettings() {
    const workspace = this.#workspace();
    if (!workspace) return;
    this.#shell.foldIfNarrow();
    this.#shell.settings.open({ workspace, ...this.#models, only: this.#list.length < 2 });
    this.#loadTools(workspace.slug);
  }

  async #showHabits(model, load) {
    this.#model = model;
    try {
      const habits = model ? await load() : null;
      if (model === this.#model) this.#shell.settings.habits = habits;
    } catch (error) {
      this.#shell.settings.fail(error.message);
    }
  }

  #forget({ code, model }) {
    this.#showHabits(this.#model, async () => {
      await api.forget(code, model);
      return api.profile(this.#model);
    });
  }

  async #loadTools(slug) {
    try {
      const tools = await api.tools(slug);
      if (slug === this.#current) this.#shell.settings.tools = tools;
    } catch (error) {
      this.#shell.settings.fail(error.message); // the other settings can still be changed
    }
  }

  #workspace() {
    return this.#list.find(({ slug }) => slug === this.#current);
  }

  #show() {
    const { sidebar, welcome } = this.#shell;
    sidebar.workspace = this.#current;
    sidebar.workspaces = this.#list;
    this.#shell.chip = { model: this.#shown, provider: this.#models.provider };
    welcome.offline = this.#models.provider === "offline";
  }

  async #save(fields) {
    try {
      const changed = await api.updateWorkspace(this.#current, fields);
      this.#list = this.#list.map((workspace) => (workspace.slug === changed.slug ? changed : workspace));
      this.#shell.settings.close();
      this.#shell.toast(t("saved"));
      this.#show();
    } catch (error) {
      this.#shell.settings.fail(error.message);
    }
  }

  async #make() {
    try {
      const made = await api.newWorkspace(t("newWorkspaceName", { n: this.#list.length + 1 }));
      this.#list = [...this.#list, made];
      this.#shell.settings.close();
      location.hash = hashOf(made.slug);
    } catch (error) {
      this.#shell.settings.fail(error.message);
    }
  }

  async #delete() {
    const { slug, name } = this.#workspace();
    const sure = { title: t("deleteWorkspaceTitle"), body: t("deleteWorkspaceBody", { name }), yes: t("delete") };
    if (!(await this.#shell.confirm.ask(sure))) return;
    try {
      await api.deleteWorkspace(slug);
      this.#list = this.#list.filter((workspace) => workspace.slug !== slug);
      this.#shell.settings.close();
      location.hash = hashOf(this.#list[0].slug);
    } catch (error) {
      this.#shell.settings.fail(error.message);
    }
  }
}
