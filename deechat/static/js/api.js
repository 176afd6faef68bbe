// The server's JSON routes. Knows statuses and errors, not what a page does with them.

import { t } from "./words.js";

// A request that did not work. `status` 0: the server was not reached. `message` is for a person.
export class ApiError extends Error {
  constructor(status, code, message, { retryAfter = null, runId = null } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter, runId });
  }
}

let logIn = null;

// `ask()` shows a log-in and resolves when somebody came in; every request that got a 401 then goes out again.
export function onLoginNeeded(ask) {
  logIn = ask;
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

// A fetch that logs in when it has to. Gives the response, ok or not; throws `ApiError` with status 0 when there is none.
export async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  for (;;) {
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

async function json(path, options) {
  const response = await ask(path, options);
  if (!response.ok) throw await errorOf(response);
  return response.json();
}

const get = (path, signal) => json(path, { signal });
const post = (path, body = {}) => json(path, { method: "POST", body });
const remove = (path) => json(path, { method: "DELETE" });
const workspacePath = (workspace) => `/api/workspace/${encodeURIComponent(workspace)}`;
const threadPath = (workspace, thread) => `${workspacePath(workspace)}/thread/${encodeURIComponent(thread)}`;
const runPath = (run) => `/api/runs/${encodeURIComponent(run)}`;

export const streamChatPath = (workspace, thread) => `${threadPath(workspace, thread)}/stream-chat`;
export const eventsPath = (run) => `${runPath(run)}/events`;
export const continuePath = (run) => `${runPath(run)}/continue`;

export const api = {
  models: () => get("/api/models"),
  workspaces: async () => (await get("/api/workspaces")).workspaces,
  newWorkspace: async (name) => (await post("/api/workspace/new", { name })).workspace,
  updateWorkspace: async (workspace, fields) => (await post(`${workspacePath(workspace)}/update`, fields)).workspace,
  deleteWorkspace: (workspace) => remove(workspacePath(workspace)),
  tools: async (workspace) => (await get(`${workspacePath(workspace)}/tools`)).tools,
  threads: async (workspace) => (await get(`${workspacePath(workspace)}/threads`)).threads,
  newThread: async (workspace) => (await post(`${workspacePath(workspace)}/thread/new`)).thread,
  renameThread: async (workspace, thread, name) => (await post(`${threadPath(workspace, thread)}/update`, { name })).thread,
  deleteThread: (workspace, thread) => remove(threadPath(workspace, thread)),
  chats: (workspace, thread, { limit, before } = {}) => {
    const query = new URLSearchParams();
    if (limit) query.set("limit", limit);
    if (before) query.set("before", before);
    return get(`${threadPath(workspace, thread)}/chats${query.size ? `?${query}` : ""}`);
  },
  run: async (run, signal) => (await get(runPath(run), signal)).run,
  stop: (run) => post(`${runPath(run)}/stop`),
  respond: (run, body) => post(`${runPath(run)}/respond`, body),
  steer: (run, message) => post(`${runPath(run)}/steer`, { message }),
};

// Log-in is the one route that a 401 does not send to the log-in form.
export async function sendPassword(password) {
  const response = await fetch("/api/login", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ password }),
  });
  if (!response.ok) throw await errorOf(response);
}
