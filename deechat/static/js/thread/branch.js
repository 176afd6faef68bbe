// The messages of a thread are a tree: a prompt that is tried again starts a new branch, and an answer that is continued
// is followed by another answer. No DOM, no network.

// The branch that ends in the last message, or in the one with this id, oldest first. Where the list is a page of a longer
// history, the branch begins with the oldest message of it that the list holds.
export function lastBranch(history, leaf = null) {
  const byId = new Map(history.map((message) => [message.chatId, message]));
  const branch = [];
  const seen = new Set();
  for (let message = byId.get(leaf) ?? history.at(-1); message && !seen.has(message.chatId); message = byId.get(message.parentId)) {
    seen.add(message.chatId);
    branch.push(message);
  }
  return branch.reverse();
}

// The prompts that begin a branch where this one does, itself among them, oldest first.
export function siblingsOf(history, prompt) {
  const parentId = prompt.parentId ?? null;
  return history.filter((message) => message.role === "user" && (message.parentId ?? null) === parentId);
}

// The last message of all that follow this one, or itself.
export function leafBelow(history, chatId) {
  const byId = new Map(history.map((message) => [message.chatId, message]));
  return history.findLast((message) => {
    const seen = new Set();
    for (let each = message; each && !seen.has(each.chatId); each = byId.get(each.parentId)) {
      if (each.chatId === chatId) return true;
      seen.add(each.chatId);
    }
    return false;
  })?.chatId;
}

// Two pages of one history as one, without doubles, in the order older then newer.
export function joinPages(older, newer) {
  const known = new Set(newer.map((message) => message.chatId));
  return [...older.filter((message) => !known.has(message.chatId)), ...newer];
}
