/** The parts of a message: texts, reasoning folded away, and what is loaded when it is needed. */

import { h, put } from "./dom.js";
import { Markdown } from "./markdown.js";
import { WORDS } from "./words.js";

/**
 * A view of one part: `node`, and `show(part, message, canDecide)` that brings it up to date.
 * @param {any} part @param {any} message @param {(call: string, decision: string) => void} onDecide
 */
export function createPart(part, message, onDecide) {
  if (["tool", "data", "steer"].includes(part.type)) return new LaterPart(import("./tool.js"), part, onDecide);
  if (part.type === "file") return new LaterPart(import("./files.js"), part);
  if (part.type === "reasoning") return new ReasoningPart();
  return message.role === "assistant" ? new MarkdownPart(part.type) : new PlainPart(part.type);
}

class PlainPart {
  constructor(type) {
    this.node = h("div", { class: "llm-part llm-plain", "data-type": type, dir: "auto" });
  }

  show(part) {
    put(this.node, part.text ?? "");
  }
}

class MarkdownPart {
  constructor(type) {
    this.node = h("div", { class: "llm-part llm-text", "data-type": type, part: "text" });
    this.markdown = new Markdown(this.node);
  }

  show(part, message) {
    // What is not the last part will not grow any more.
    const settled = message.status !== "running" || message.parts.at(-1) !== part;
    this.markdown.show(part.text ?? "", settled);
  }
}

class ReasoningPart extends MarkdownPart {
  constructor() {
    super("");
    const text = this.node;
    text.className = "llm-text";
    const attributes = { class: "llm-part llm-fold", "data-type": "reasoning", part: "reasoning" };
    this.node = h("details", attributes, h("summary", {}, WORDS.reasoning), text);
  }
}

class LaterPart {
  node = h("div", { class: "llm-part" });
  #latest = [];
  #view = null;

  /** Should it not come, the rest of the message is there all the same. */
  constructor(module, part, onDecide) {
    const onLoad = ({ createView }) => {
      this.#view = createView(part, onDecide);
      this.node.append(this.#view.node);
      this.#view.show(...this.#latest);
    };
    module.then(onLoad, () => {});
  }

  show(...latest) {
    this.#latest = latest;
    this.#view?.show(...latest);
  }
}
