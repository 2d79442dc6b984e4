/** Markdown that grows: blocks that are finished keep their elements, only the end of the text is read again. */

import { Lexer } from "../vendor/marked.esm.js";
import { build, isSame, isShown } from "./blocks.js";
import { h } from "./dom.js";
import { closed } from "./tail.js";

/** So many blocks at the end may still change with what follows, such as a list that goes on after a blank line. */
const OPEN_BLOCKS = 2;
const FORMULA = /\$.+\$|\\[([]/s;

export class Markdown {
  #container;
  #text = "";
  #settled = false;
  /** @type {{token: any, links: string, node: HTMLElement}[]} */
  #blocks = [];
  /** How much of the text, and how many blocks, are finished. */
  #frozen = { length: 0, blocks: 0 };
  /** Where link references lead. */
  #links = {};
  /** Marked's. */
  extensions;
  /** @type {typeof import ("./changes.js").change | null} */
  #change = null;

  /** @param {HTMLElement} container holds the blocks and nothing else */
  constructor(container) {
    this.#container = container;
  }

  /**
   * Bring the container to show a text. `settled` says that nothing will be added: then it is what the whole text
   * makes, however it arrived.
   * @param {string} source @param {boolean} settled
   */
  show(source, settled) {
    const text = source.includes("\r") ? source.replace(/\r\n?/g, "\n") : source;
    if (text === this.#text && settled === this.#settled) return;
    if (settled || !text.startsWith(this.#text)) {
      this.#frozen = { length: 0, blocks: 0 };
      this.#links = {};
    }
    this.#text = text;
    this.#settled = settled;
    if (!settled && !this.#change) {
      this.#change = () => false;
      import("./changes.js").then(({ change }) => (this.#change = change), () => {});
    }
    const rest = text.slice(this.#frozen.length);
    const tokens = this.#lex(settled ? rest : closed(rest));
    this.#draw(tokens.filter(isShown));
    if (!settled) return this.#freeze(tokens, rest);
    this.#finish(0);
    if (FORMULA.test(text)) import("./formulas.js").then((found) => found.show(this, this.#container, text), () => {});
  }

  /** What is within a line is read when it is built: most blocks stay as they are. */
  #lex(source) {
    const lexer = new Lexer({ gfm: true, extensions: this.extensions });
    Object.assign(lexer.tokens.links, this.#links);
    try {
      lexer.blockTokens(source, lexer.tokens);
    } catch {
      // Nested too deeply to be read: shown as it is.
      return [plain(source)];
    }
    for (const { src, tokens } of lexer.inlineQueue) {
      tokens.read = () => {
        delete tokens.read;
        lexer.inlineTokens(src, tokens);
      };
    }
    this.#links = { ...lexer.tokens.links };
    return [...lexer.tokens];
  }

  #draw(tokens) {
    const links = Object.keys(this.#links).length ? JSON.stringify(this.#links) : "";
    const first = this.#frozen.blocks;
    tokens.forEach((token, index) => {
      const old = this.#blocks[first + index];
      const isAlike = old?.token.type === token.type && old.links === links;
      if (isAlike && isSame(old.token, token)) return;
      let node;
      try {
        if (isAlike && this.#change?.(old.node, old.token, token)) return void (old.token = token);
        node = build(token);
      } catch {
        // Nested too deeply.
        node = build(plain(token.raw));
      }
      if (old) old.node.replaceWith(node);
      else this.#container.append(node);
      this.#blocks[first + index] = { token, links, node };
    });
    for (const { node } of this.#blocks.splice(first + tokens.length)) node.remove();
  }

  #freeze(tokens, source) {
    const shown = tokens.filter(isShown);
    const end = tokens.indexOf(shown.at(-OPEN_BLOCKS));
    const done = tokens.slice(0, Math.max(0, end));
    const raw = done.map((token) => token.raw).join("");
    // Where the lexer has tidied the source its tokens do not tell how far it came.
    if (!raw || !source.startsWith(raw)) return;
    const before = this.#frozen.blocks;
    this.#frozen.length += raw.length;
    this.#frozen.blocks += done.filter(isShown).length;
    this.#finish(before, this.#frozen.blocks);
  }

  /** Blocks that will not change any more get the colours of their code, and their pictures. */
  #finish(from, to) {
    const nodes = this.#blocks.slice(from, to).map(({ node }) => node);
    const having = (what) => nodes.filter((node) => node.querySelector(what));
    const code = having("[data-language]");
    const images = having(".llm-image");
    if (code.length) import("./highlight.js").then(({ highlight }) => code.forEach(highlight), () => {});
    if (images.length) import("./pictures.js").then(({ showPictures }) => images.forEach(showPictures), () => {});
  }
}

function plain(text) {
  return { type: "html", raw: text, text };
}

/** The elements of a whole text. @param {string} source */
export function renderMarkdown(source) {
  const container = h("div");
  new Markdown(container).show(source, true);
  return container;
}
