// Task lists: `- [ ]` and `- [x]` are boxes, which nobody can tick here. The item's words are the box's label, so that a
// screen reader says what is done.

const BOX = /^\[([ xX])\](?:\s+|$)/;
const BEGUN = /^\[[ xX]?$/; // at the end of a text that grows: a box or a link, and not shown until that is known

export function tasks(md) {
  md.core.ruler.after("inline", "tasks", ({ tokens, Token, env }) => {
    for (const [index, token] of tokens.entries()) {
      if (token.type !== "list_item_open" || tokens[index + 2]?.type !== "inline") continue;
      const { children, content } = tokens[index + 2];
      if (env.growing === children && BEGUN.test(content)) children.length = 0;
      const found = children[0]?.type === "text" && BOX.exec(children[0].content);
      if (!found) continue;
      children[0].content = children[0].content.slice(found[0].length);
      const box = new Token("task_box", "input", 0);
      box.attrs = [["type", "checkbox"], ["disabled", ""], ...(found[1] === " " ? [] : [["checked", ""]])];
      children.unshift(new Token("label_open", "label", 1), box);
      children.push(new Token("label_close", "label", -1));
      token.attrJoin("class", "task");
    }
  });
}
