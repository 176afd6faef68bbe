// Where the page is: `#/WORKSPACE/THREAD`, `#/WORKSPACE` for a new chat there. In the hash, so that the server serves one
// page, and reload, history and a second tab come back to the same thread.

export function hashOf(workspace, thread = null) {
  const parts = [workspace, thread].filter(Boolean).map(encodeURIComponent);
  return `#/${parts.join("/")}`;
}

export function readHash(hash = location.hash) {
  try {
    const [workspace = null, thread = null] = hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
    return { workspace, thread };
  } catch {
    return { workspace: null, thread: null }; // a broken escape
  }
}
