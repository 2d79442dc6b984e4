/** Markdown's tokens as elements. Nothing but what is listed here can come out, whatever a model writes. */

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

/** Whether two tokens of one type, or two items of a list, show the same, but for what links lead to. */
export function isSame(one, other) {
  return one.text === other.text && one.raw.trimEnd() === other.raw.trimEnd();
}

/** The element of a token at the top level. @param {any} token @returns {HTMLElement} */
export function build(token) {
  return (BLOCKS[token.type] ?? ((other) => h("p", { dir: "auto" }, other.raw)))(token);
}

function buildAll(tokens) {
  return tokens.filter(isShown).map(build);
}

/** The children of a line; each of its tokens knows how many it has made. @param {any} tokens */
export function inline(tokens) {
  tokens?.read?.();
  return (tokens ?? []).flatMap((token) => {
    const made = INLINES[token.type]?.(token) ?? [token.node ?? token.raw];
    token.count = made.length;
    return made;
  });
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

export function listItem({ tokens, task }, loose) {
  const children = tokens.filter(isShown).flatMap((token) => {
    if (token.type === "checkbox") return INLINES.checkbox(token);
    return token.type === "text" && !loose ? inlineOf(token) : [build(token)];
  });
  return h("li", { dir: "auto", class: task ? "llm-task" : null }, ...children);
}

export function tableRow(cells, name) {
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

/** By name; the browser's own parser is out of reach: it makes HTML. */
const NAMED = new Map(
  Object.entries({
    amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", ensp: "\u2002", emsp: "\u2003", thinsp: "\u2009",
    zwj: "\u200d", zwnj: "\u200c", lrm: "\u200e", rlm: "\u200f", shy: "\u00ad", copy: "©", reg: "®", trade: "™",
    hellip: "…", mdash: "—", ndash: "–", lsquo: "‘", rsquo: "’", sbquo: "‚", ldquo: "“", rdquo: "”", bdquo: "„",
    laquo: "«", raquo: "»", bull: "•", middot: "·", sect: "§", para: "¶", deg: "°", micro: "µ", plusmn: "±",
    times: "×", divide: "÷", minus: "−", le: "≤", ge: "≥", ne: "≠", asymp: "≈", infin: "∞", radic: "√", sum: "∑",
    prod: "∏", int: "∫", part: "∂", nabla: "∇", isin: "∈", cap: "∩", cup: "∪", larr: "←", uarr: "↑", rarr: "→",
    darr: "↓", harr: "↔", lArr: "⇐", rArr: "⇒", hArr: "⇔", euro: "€", pound: "£", yen: "¥", cent: "¢", frac12: "½",
    frac14: "¼", frac34: "¾", sup1: "¹", sup2: "²", sup3: "³", alpha: "α", beta: "β", gamma: "γ", delta: "δ",
    epsilon: "ε", theta: "θ", lambda: "λ", mu: "μ", pi: "π", sigma: "σ", phi: "φ", omega: "ω", Delta: "Δ",
    Sigma: "Σ", Omega: "Ω", check: "✓", cross: "✗", star: "☆", hearts: "♥",
  }),
);
const REFERENCE = /&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z][a-z\d]*));/gi;

/** The text with its character references replaced; unknown ones stay as they are. @param {string} text */
export function decode(text) {
  if (!text.includes("&")) return text;
  return text.replace(REFERENCE, (whole, decimal, hex, name) => {
    if (name) return NAMED.get(name) ?? whole;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    const isCharacter = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
    return isCharacter ? String.fromCodePoint(code) : "\ufffd";
  });
}
