// The server's JSON routes. Knows statuses and errors, not what a page does with them.

import { t } from "./words.js";

// A request that did not work. `status` 0: the server was not reached. `message` is for a person.
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {{ retryAfter?: number | null, runId?: string | null }} [more]
   */
  constructor(status, code, message, { retryAfter = null, runId = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
    this.runId = runId;
  }
}

const MOST_WORKSPACES = 5000; // in one list that a person chooses from

/** @type {(() => Promise<void>) | null} */
let logIn = null;

// `show()` shows a log-in and resolves when somebody came in; every request that got a 401 then goes out again.
export function onLoginNeeded(show) {
  logIn = show;
}

let damaged = () => {};

// `tell()` is called with every response that says that the server's database is damaged.
export function onDamage(tell) {
  damaged = tell;
}

// Seconds that a response asks to wait; null when it does not say.
export function retryAfterOf(response) {
  const value = response.headers.get("Retry-After");
  if (!value) return null;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

export async function errorOf(response) {
  const retryAfter = retryAfterOf(response);
  try {
    const { code, message, runId } = (await response.json()).error;
    return new ApiError(response.status, code, message, { retryAfter, runId });
  } catch {
    return new ApiError(response.status, "unknown", t("unknownError", { status: response.status }), { retryAfter });
  }
}

/** @typedef {{ method?: string, body?: any, headers?: Record<string, string>, signal?: AbortSignal }} Options */

/**
 * A fetch that logs in when it has to. Gives the response, ok or not; throws `ApiError` with status 0 when there is none.
 * @param {string} path
 * @param {Options} [options]
 */
export async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  for (;;) {
    /** @type {RequestInit & { headers: Record<string, string> }} */
    const options = { method, headers: { Accept: "application/json", ...headers }, signal, cache: "no-store" };
    if (body !== undefined) {
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    let response;
    try {
      response = await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "network", t("networkError"));
    }
    if (response.headers.get("X-Storage") === "damaged") damaged();
    if (response.status !== 401 || !logIn) return response;
    await response.body?.cancel();
    await logIn();
  }
}

/**
 * @param {string} path
 * @param {Options} options
 */
async function json(path, options) {
  const response = await ask(path, options);
  if (!response.ok) throw await errorOf(response);
  return response.json();
}

/** @type {(path: string, signal?: AbortSignal) => Promise<any>} */
const get = (path, signal) => json(path, { signal });
const post = (path, body = {}) => json(path, { method: "POST", body });
const remove = (path) => json(path, { method: "DELETE" });
// Addresses are relative to the page, so that it also works below a path that a proxy takes away.
const workspacePath = (workspace) => `api/workspace/${encodeURIComponent(workspace)}`;
const threadPath = (workspace, thread) => `${workspacePath(workspace)}/thread/${encodeURIComponent(thread)}`;
const runPath = (run) => `api/runs/${encodeURIComponent(run)}`;

// "?name=value&…" of what is given; "" where nothing is.
function queryOf(fields) {
  const query = new URLSearchParams(Object.entries(fields).filter(([, value]) => value));
  return query.size ? `?${query}` : "";
}

export const streamChatPath = (workspace, thread) => `${threadPath(workspace, thread)}/stream-chat`;
export const eventsPath = (run) => `${runPath(run)}/events`;
export const continuePath = (run) => `${runPath(run)}/continue`;

export const api = {
  models: () => get("api/models"),
  profile: async (model) => (await get(`api/models/profile${queryOf({ model })}`)).profile,
  forget: async (code, model) => (await post("api/models/forget", { code, model })).profile,
  // All of them: there are seldom more than one page has.
  workspaces: async () => {
    let page = await get("api/workspaces");
    const found = page.workspaces;
    while (page.next && found.length < MOST_WORKSPACES) {
      page = await get(`api/workspaces${queryOf({ after: page.next })}`);
      found.push(...page.workspaces);
    }
    return found;
  },
  newWorkspace: async (name) => (await post("api/workspace/new", { name })).workspace,
  updateWorkspace: async (workspace, fields) => (await post(`${workspacePath(workspace)}/update`, fields)).workspace,
  deleteWorkspace: (workspace) => remove(workspacePath(workspace)),
  tools: async (workspace) => (await get(`${workspacePath(workspace)}/tools`)).tools,
  // A page of the list: { threads, next }; `next` is where the one behind it begins, if there is one.
  threads: (workspace, /** @type {{ limit?: number, after?: string | null }} */ { limit, after } = {}) =>
    get(`${workspacePath(workspace)}/threads${queryOf({ limit, after })}`),
  thread: async (workspace, slug) => (await get(`${workspacePath(workspace)}/threads${queryOf({ slug })}`)).threads[0],
  newThread: async (workspace) => (await post(`${workspacePath(workspace)}/thread/new`)).thread,
  renameThread: async (workspace, thread, name) => (await post(`${threadPath(workspace, thread)}/update`, { name })).thread,
  deleteThread: (workspace, thread) => remove(threadPath(workspace, thread)),
  chats: (workspace, thread, /** @type {{ limit?: number, before?: string }} */ { limit, before } = {}) =>
    get(`${threadPath(workspace, thread)}/chats${queryOf({ limit, before })}`),
  run: async (run, signal) => (await get(runPath(run), signal)).run,
  stop: (run) => post(`${runPath(run)}/stop`),
  respond: (run, body) => post(`${runPath(run)}/respond`, body),
  steer: (run, message) => post(`${runPath(run)}/steer`, { message }),
};

// The log-in's cookie is worth nothing afterwards, wherever somebody may have a copy of it.
export const logOut = () => post("api/logout");

// Log-in is the one route that a 401 does not send to the log-in form.
export async function sendPassword(password) {
  const response = await fetch("api/login", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ password }),
  });
  if (!response.ok) throw await errorOf(response);
}
