/** Blocks that change in place while they grow. Loaded when a text does; until then they are made anew. */

import { decode, inline, isSame, listItem, tableRow } from "./blocks.js";

const CHANGES = {
  code: (node, old, { text }) => old.text && grow(node.querySelector("code").firstChild, text),
  list: (node, old, { items, loose }) => changeEach(node, old.items, items, isSame, (item) => listItem(item, loose)),
  table: (node, old, { header, rows }) =>
    isSameRow(old.header, header) &&
    changeEach(node.querySelector("tbody"), old.rows, rows, isSameRow, (cells) => tableRow(cells, "td")),
  paragraph: changeLine,
  heading: changeLine,
};

/**
 * Change a block's element in place, as far as it shows something else; returns whether that was possible. A reader may
 * be selecting or scrolling in it.
 * @param {HTMLElement} node @param {any} old what it shows @param {any} token of the same type
 */
export function change(node, old, token) {
  const isAlike = ["lang", "ordered", "start", "loose", "depth"].every((name) => old[name] === token[name]);
  return Boolean(isAlike && CHANGES[token.type]?.(node, old, token));
}

/** Make children for what was added, and new ones where something differs. */
function changeEach(node, before, after, isAlike, make) {
  if (after.length < before.length) return false;
  after.forEach((item, index) => {
    if (index >= before.length) node.append(make(item));
    else if (!isAlike(before[index], item)) node.children[index].replaceWith(make(item));
  });
  return true;
}

function isSameRow(one, other) {
  return one.length === other.length && one.every(({ align, text }, index) => align === other[index].align && text === other[index].text);
}

/** Keep what the line begins with, let the text grow that goes on, and make the rest anew. */
function changeLine(node, { tokens: before }, { tokens: after }) {
  const count = (tokens) => tokens.reduce((sum, token) => sum + token.count, 0);
  if (node.childNodes.length !== count(before)) return false;
  after.read?.();
  let same = 0;
  while (same < before.length && before[same].type === after[same]?.type && before[same].raw === after[same].raw) {
    after[same].count = before[same++].count;
  }
  let kept = count(before.slice(0, same));
  const [old, now] = [before[same], after[same]];
  if (old?.type === "text" && now?.type === "text" && !old.tokens && !now.tokens) {
    grow(node.childNodes[kept++], decode(now.text));
    now.count = 1;
    same++;
  }
  while (node.childNodes.length > kept) node.lastChild.remove();
  node.append(...inline(after.slice(same)));
  return true;
}

function grow(shown, text) {
  if (text.startsWith(shown.data)) shown.appendData(text.slice(shown.data.length));
  else shown.data = text;
  return true;
}
