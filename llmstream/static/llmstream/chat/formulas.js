/** Formulas of an answer that has ended, as MathML that the server makes. Loaded for a text that may have some. */

import { h } from "./dom.js";

const MATHML = "http://www.w3.org/1998/Math/MathML";
const ELEMENT = /^m[a-z]{1,15}$/;
/** Nothing that leads anywhere, runs, or looks like something else. */
const ATTRIBUTE = /^(?!on|href|style|class|id)[a-z]{1,20}$/;

/**
 * Ask for the formulas of the message that a text is of, and show the text with them.
 * @param {import ("./markdown.js").Markdown} markdown shows the text, which has settled
 * @param {HTMLElement} container the element that it is shown in @param {string} text
 */
export async function show(markdown, container, text) {
  if (markdown.extensions) return;
  const chat = /** @type {ShadowRoot} */ (container.getRootNode()).host;
  const id = /** @type {HTMLElement | null} */ (container.closest("article"))?.dataset.id;
  if (!id || !chat?.hasAttribute("formulas")) return;
  const url = new URL(`messages/${id}/formulas/`, new URL(chat.getAttribute("api") ?? "/llmstream/", document.baseURI));
  // Without an answer they are shown as they were written.
  const response = await fetch(url, { headers: { Accept: "application/json" } }).catch(() => null);
  const { formulas } = response?.ok ? await response.json() : { formulas: [] };
  if (!formulas.length) return;
  markdown.extensions = extensions(formulas);
  markdown.show("", false);
  markdown.show(text, true);
}

/** What has marked's lexer know these formulas. @param {{source: string, mathml: any[]}[]} formulas */
function extensions(formulas) {
  const known = formulas.map(({ source, mathml }) => ({ start: beginning(source), mathml }));
  const find = (src, after = () => true) => {
    for (const { start, mathml } of known) {
      const raw = start.exec(src)?.[0];
      if (raw && after(src.slice(raw.length))) return { raw, mathml };
    }
    return null;
  };
  const inline = (src) => {
    const found = /^[$\\]/.test(src) && find(src);
    return found ? { type: "formula", raw: found.raw, node: build(found.mathml) } : undefined;
  };
  const block = (src) => {
    const indent = /^ {0,3}(?=\$\$|\\\[)/.exec(src)?.[0];
    const found = indent !== undefined && find(src.slice(indent.length), (rest) => /^[ \t]*(?:\n|$)/.test(rest));
    if (!found) return undefined;
    const token = { type: "formula", raw: found.raw, node: build(found.mathml) };
    return { type: "paragraph", raw: indent + found.raw, text: found.raw, tokens: [token] };
  };
  return {
    inline: [inline],
    startInline: [(src) => src.search(/\$|\\[([]/)],
    block: [block],
    startBlock: [(src) => src.search(/(?<=\n) {0,3}(?:\$\$|\\\[)/)],
  };
}

/** A pattern of a source at the beginning of a text, whatever the indentation of its lines. */
function beginning(source) {
  const lines = source.split("\n").map((line) => line.trim().replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${lines.join("[ \\t]*\\n[ \\t]*")}`);
}

/** A tree of names, attributes and children as elements. Text is text. */
function build(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [name, attributes, ...children] = tree;
  const node = ELEMENT.test(name) ? document.createElementNS(MATHML, name) : h("span");
  for (const [key, value] of Object.entries(attributes)) if (ATTRIBUTE.test(key)) node.setAttribute(key, value);
  node.append(...children.map(build));
  return node;
}
