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
  return (tokens ?? []).flatMap((token) => INLINES[token.type]?.(token) ?? [token.node ?? token.raw]);
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
  const pre = h("pre", { dir: "ltr", tabindex: "0", role: "group", "aria-label": language || WORDS.code }, code);
  return h("div", { class: "llm-code", part: "code" }, bar, pre);
}

function listBlock({ ordered, start, loose, items }) {
  const list = h(ordered ? "ol" : "ul", { dir: "auto", start: ordered && start !== 1 ? start : null });
  for (const item of items) {
    const children = item.tokens.filter(isShown).flatMap((token) => {
      if (token.type === "checkbox") return INLINES.checkbox(token);
      return token.type === "text" && !loose ? inlineOf(token) : [build(token)];
    });
    list.append(h("li", { dir: "auto", class: item.task ? "llm-task" : null }, ...children));
  }
  return list;
}

function tableBlock({ header, rows }) {
  const cell = (name) => (token) =>
    h(name, { dir: "auto", "data-align": token.align, scope: name === "th" ? "col" : null }, ...inline(token.tokens));
  const row = (name) => (cells) => h("tr", {}, ...cells.map(cell(name)));
  const table = h("table", {}, h("thead", {}, row("th")(header)), h("tbody", {}, ...rows.map(row("td"))));
  const attributes = { class: "llm-table", part: "table", tabindex: "0", role: "group", "aria-label": WORDS.table };
  return h("div", attributes, table);
}
