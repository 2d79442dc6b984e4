/** Markdown that grows: blocks that are finished keep their elements, only the end of the text is read again. */

import { Lexer } from "../vendor/marked.esm.js";
import { build, isShown } from "./blocks.js";
import { h } from "./dom.js";
import { closed } from "./tail.js";

/** So many blocks at the end may still change with what follows, such as a list that goes on after a blank line. */
const OPEN_BLOCKS = 2;
const FORMULA = /\$.+\$|\\[([]/s;

export class Markdown {
  #container;
  #text = "";
  #settled = false;
  /** @type {{token: any, key: string, node: HTMLElement}[]} */
  #blocks = [];
  /** How much of the text, and how many blocks, are finished. */
  #frozen = { length: 0, blocks: 0 };
  /** Where link references lead. */
  #links = {};
  /** Marked's. */
  extensions;

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
    const text = source.replace(/\r\n?/g, "\n");
    if (text === this.#text && settled === this.#settled) return;
    if (settled || !text.startsWith(this.#text)) {
      this.#frozen = { length: 0, blocks: 0 };
      this.#links = {};
    }
    this.#text = text;
    this.#settled = settled;
    const rest = text.slice(this.#frozen.length);
    const tokens = this.#lex(settled ? rest : closed(rest));
    this.#draw(tokens.filter(isShown));
    if (!settled) this.#freeze(tokens, rest);
    else if (FORMULA.test(text)) import("./formulas.js").then((found) => found.show(this, this.#container, text));
  }

  #lex(source) {
    const lexer = new Lexer({ gfm: true, extensions: this.extensions });
    Object.assign(lexer.tokens.links, this.#links);
    try {
      const tokens = lexer.lex(source);
      this.#links = { ...lexer.tokens.links };
      return [...tokens];
    } catch {
      // Nested too deeply to be read: shown as it is.
      return [{ type: "html", raw: source, text: source }];
    }
  }

  #draw(tokens) {
    const links = Object.keys(this.#links).length ? JSON.stringify(this.#links) : "";
    const first = this.#frozen.blocks;
    tokens.forEach((token, index) => {
      const key = `${token.type} ${links} ${token.raw.trimEnd()}`;
      const old = this.#blocks[first + index];
      if (old?.key === key) return;
      if (old && grow(old, token)) return void Object.assign(old, { token, key });
      const node = build(token);
      if (old) old.node.replaceWith(node);
      else this.#container.append(node);
      this.#blocks[first + index] = { token, key, node };
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
    this.#frozen.length += raw.length;
    this.#frozen.blocks += done.filter(isShown).length;
  }
}

/** Let a code block grow in place; a reader may be selecting or scrolling in it. */
function grow({ token: old, node }, token) {
  if (token.type !== "code" || old.type !== "code" || token.lang !== old.lang) return false;
  if (!old.text || !token.text.startsWith(old.text)) return false;
  node.querySelector("code").firstChild.appendData(token.text.slice(old.text.length));
  return true;
}

/** The elements of a whole text. @param {string} source */
export function renderMarkdown(source) {
  const container = h("div");
  new Markdown(container).show(source, true);
  return container;
}
