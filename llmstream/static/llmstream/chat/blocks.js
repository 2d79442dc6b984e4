/** Markdown's tokens as elements. Nothing but what is listed here can come out, whatever a model writes. */

import { decode } from "./entities.js";
import { copyButton, h } from "./dom.js";
import { WORDS } from "./words.js";

const SAFE = new Set(["http:", "https:", "mailto:"]);
const LANGUAGE = /^[\w+#.-]{1,30}/;

const BLOCKS = {
  paragraph: (token) => h("p", { dir: "auto" }, ...inline(token.tokens)),
  // Below the headings of the page around it.
  heading: (token) => h(`h${Math.min(6, token.depth + 2)}`, { dir: "auto" }, ...inline(token.tokens)),
  code: codeBlock,
  blockquote: (token) => h("blockquote", { dir: "auto" }, ...buildAll(token.tokens)),
  list: listBlock,
  table: tableBlock,
  hr: () => h("hr"),
  // HTML is text like any other.
  html: (token) => h("p", { class: "llm-html", dir: "auto" }, token.text.trim()),
  text: (token) => h("p", { dir: "auto" }, ...inlineOf(token)),
};

const INLINES = {
  text: (token) => inlineOf(token),
  escape: (token) => [token.text],
  strong: (token) => [h("strong", {}, ...inline(token.tokens))],
  em: (token) => [h("em", {}, ...inline(token.tokens))],
  del: (token) => [h("del", {}, ...inline(token.tokens))],
  codespan: (token) => [h("code", { dir: "ltr" }, token.text)],
  br: () => [h("br")],
  link: (token) => link(token.href, token.title, inline(token.tokens)),
  // To fetch an image would tell somebody that it is looked at, and whatever its address says.
  image: (token) => link(token.href, token.title, [decode(token.text) || WORDS.image], "llm-image"),
  html: (token) => (/^<br\s*\/?>$/i.test(token.text) ? [h("br")] : [token.text]),
  checkbox: ({ checked }) => {
    const name = checked ? WORDS.done : WORDS.toDo;
    return [h("input", { type: "checkbox", disabled: true, checked, "aria-label": name })];
  },
};

/** Whether a token shows anything. */
export function isShown({ type }) {
  return type !== "space" && type !== "def";
}

/** The element of a token at the top level. @param {any} token @returns {HTMLElement} */
export function build(token) {
  return (BLOCKS[token.type] ?? ((other) => h("p", { dir: "auto" }, other.raw)))(token);
}

function buildAll(tokens) {
  return tokens.filter(isShown).map(build);
}

function inline(tokens) {
  tokens?.read?.();
  return (tokens ?? []).flatMap((token) => INLINES[token.type]?.(token) ?? [token.raw]);
}

function inlineOf(token) {
  return token.tokens ? inline(token.tokens) : [decode(token.text)];
}

/** A link to where it says, or what it would have shown when that is nowhere to go. */
function link(address, title, children, kind) {
  const href = safe(decode(address));
  if (!href) return children;
  const attributes = { href, title: title ? decode(title) : null, class: kind, part: "link", dir: "auto" };
  return [h("a", { ...attributes, target: "_blank", rel: "noopener noreferrer nofollow ugc" }, ...children)];
}

function safe(address) {
  try {
    const url = new URL(address, document.baseURI);
    return SAFE.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function codeBlock({ text, lang }) {
  const code = h("code", {}, text);
  const language = LANGUAGE.exec(lang ?? "")?.[0] ?? "";
  const bar = h("div", { class: "llm-code-bar" }, h("span", { class: "llm-language" }, language));
  bar.append(copyButton(() => code.textContent));
  const attributes = { dir: "ltr", tabindex: "0", role: "group", "aria-label": language || WORDS.code };
  const pre = h("pre", { ...attributes, "data-language": language || null }, code);
  return h("div", { class: "llm-code", part: "code" }, bar, pre);
}

function listBlock({ ordered, start, loose, items }) {
  const attributes = { dir: "auto", start: ordered && start !== 1 ? start : null };
  return h(ordered ? "ol" : "ul", attributes, ...items.map((item) => listItem(item, loose)));
}

function listItem({ tokens, task }, loose) {
  const children = tokens.filter(isShown).flatMap((token) => {
    if (token.type === "checkbox") return INLINES.checkbox(token);
    return token.type === "text" && !loose ? inlineOf(token) : [build(token)];
  });
  return h("li", { dir: "auto", class: task ? "llm-task" : null }, ...children);
}

function tableRow(cells, name) {
  const cell = ({ align, tokens }) =>
    h(name, { dir: "auto", "data-align": align, scope: name === "th" ? "col" : null }, ...inline(tokens));
  return h("tr", {}, ...cells.map(cell));
}

function tableBlock({ header, rows }) {
  const body = h("tbody", {}, ...rows.map((cells) => tableRow(cells, "td")));
  const table = h("table", {}, h("thead", {}, tableRow(header, "th")), body);
  const attributes = { class: "llm-table", part: "table", tabindex: "0", role: "group", "aria-label": WORDS.table };
  return h("div", attributes, table);
}

const CHANGES = {
  code: (node, old, token) => {
    if (token.lang !== old.lang || !old.text || !token.text.startsWith(old.text)) return false;
    node.querySelector("code").firstChild.appendData(token.text.slice(old.text.length));
    return true;
  },
  list: (node, old, token) => {
    if (["ordered", "start", "loose"].some((name) => old[name] !== token[name])) return false;
    const isSame = (one, other) => one.raw.trimEnd() === other.raw.trimEnd();
    return changeAll(node, old.items, token.items, isSame, (item) => listItem(item, token.loose));
  },
  table: (node, old, token) => {
    const isSame = (one, other) => one.every(({ text, align }, at) => text === other[at].text && align === other[at].align);
    if (old.header.length !== token.header.length || !isSame(old.header, token.header)) return false;
    return changeAll(node.querySelector("tbody"), old.rows, token.rows, isSame, (cells) => tableRow(cells, "td"));
  },
};

/**
 * Change a block's element in place, as far as it shows something else; returns whether that was possible. A reader may
 * be selecting or scrolling in it.
 * @param {HTMLElement} node @param {any} old what it shows @param {any} token of the same type
 */
export function change(node, old, token) {
  return CHANGES[token.type]?.(node, old, token) ?? false;
}

function changeAll(parent, before, after, isSame, make) {
  if (after.length < before.length) return false;
  after.forEach((part, index) => {
    if (index >= before.length) parent.append(make(part));
    else if (!isSame(before[index], part)) parent.children[index].replaceWith(make(part));
  });
  return true;
}
