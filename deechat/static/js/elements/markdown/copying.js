// What is copied of a text with drawn formulas has their sources, as the model wrote them.

import { h } from "../../core/dom.js";

const DRAWN = ".math.drawn";

function formulaOf(node) {
  return (node instanceof Element ? node : node.parentElement)?.closest(DRAWN);
}

// The selection with the whole of a formula that it begins or ends in.
function wholeRange(selection) {
  const range = selection.getRangeAt(0).cloneRange();
  const [first, last] = [range.startContainer, range.endContainer].map(formulaOf);
  if (first) range.setStartBefore(first);
  if (last) range.setEndAfter(last);
  return range;
}

// What the browser makes of the selection as plain text, while sources stand in the formulas' places.
function plainText(selection, range, formulas) {
  const { anchorNode, anchorOffset, focusNode, focusOffset } = selection;
  const drawn = formulas.map((formula) => [...formula.childNodes]);
  for (const formula of formulas) {
    formula.classList.remove("drawn");
    formula.replaceChildren(formula.dataset.source);
  }
  selection.setBaseAndExtent(range.startContainer, range.startOffset, range.endContainer, range.endOffset);
  const words = selection.toString();
  for (const [index, formula] of formulas.entries()) {
    formula.classList.add("drawn");
    formula.replaceChildren(...drawn[index]);
  }
  selection.setBaseAndExtent(anchorNode, anchorOffset, focusNode, focusOffset);
  return words;
}

function richText(range) {
  const box = h("div", {}, range.cloneContents());
  for (const formula of /** @type {NodeListOf<HTMLElement>} */ (box.querySelectorAll(DRAWN))) {
    formula.replaceWith(formula.dataset.source ?? "");
  }
  for (const each of box.querySelectorAll("button, svg")) each.remove();
  return new XMLSerializer().serializeToString(box);
}

/** @param {ClipboardEvent} event */
export function copyFormulas(event) {
  const selection = getSelection();
  const inField = event.target instanceof Element && event.target.closest("input, textarea");
  if (inField || !selection?.rangeCount || selection.isCollapsed) return;
  const range = wholeRange(selection);
  const formulas = [...document.querySelectorAll(DRAWN)].filter((each) => selection.containsNode(each, true));
  if (!formulas.length) return;
  event.clipboardData?.setData("text/html", richText(range));
  event.clipboardData?.setData("text/plain", plainText(selection, range, formulas));
  event.preventDefault();
}
