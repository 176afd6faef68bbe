// The messages of a thread are a tree: a prompt that is tried again starts a new branch. No DOM, no network.

// The branch that ends in the last message, oldest first. Where the list is a page of a longer history, the branch begins
// with the oldest message of it that the list holds.
export function lastBranch(history) {
  const byId = new Map(history.map((message) => [message.chatId, message]));
  const branch = [];
  const seen = new Set();
  for (let message = history.at(-1); message && !seen.has(message.chatId); message = byId.get(message.parentId)) {
    seen.add(message.chatId);
    branch.push(message);
  }
  return branch.reverse();
}

// Two pages of one history as one, without doubles, in the order older then newer.
export function joinPages(older, newer) {
  const known = new Set(newer.map((message) => message.chatId));
  return [...older.filter((message) => !known.has(message.chatId)), ...newer];
}
