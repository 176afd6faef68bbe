// What this browser remembers: drafts by thread, and whether the sidebar is folded. Storage may be full or forbidden; then
// nothing is remembered and nothing else breaks.

const draftKey = (workspace, thread) => `deechat:draft:${workspace}/${thread ?? ""}`;

function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    if (value) localStorage.setItem(key, value);
    else localStorage.removeItem(key);
  } catch {
    // not remembered
  }
}

export const readDraft = (workspace, thread) => read(draftKey(workspace, thread)) ?? "";
export const writeDraft = (workspace, thread, text) => write(draftKey(workspace, thread), text);
export const readFolded = () => read("deechat:sidebar") === "folded";
export const writeFolded = (folded) => write("deechat:sidebar", folded ? "folded" : "");
