/** The parts of a message: texts, reasoning folded away, tool calls with their approval, data, steering messages. */

import { button, h, put } from "./dom.js";
import { Markdown } from "./markdown.js";
import { WORDS } from "./words.js";

/** How a tool call stands; `ended` says that its answer is over. */
export function toolState(part, ended) {
  if ("output" in part) return "done";
  if (part.error) return part.error.code === "tool_denied" ? "denied" : "failed";
  if (ended) return "unfinished";
  return part.approval && !part.approval.decision ? "pending" : "running";
}

/**
 * A view of one part: `node`, and `show(part, message)` that brings it up to date.
 * @param {any} part @param {any} message @param {(call: string, decision: string) => void} onDecide
 */
export function createPart(part, message, onDecide) {
  if (part.type === "tool") return new ToolPart(onDecide);
  if (part.type === "data" || part.type === "steer") return new ValuePart(part.type);
  if (part.type === "file") return new FilePart();
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

class ReasoningPart {
  constructor() {
    const text = h("div", { class: "llm-text" });
    this.node = h(
      "details",
      { class: "llm-part llm-fold", "data-type": "reasoning", part: "reasoning" },
      h("summary", {}, WORDS.reasoning),
      text,
    );
    this.markdown = new Markdown(text);
  }

  show(part, message) {
    const settled = message.status !== "running" || message.parts.at(-1) !== part;
    this.markdown.show(part.text ?? "", settled);
  }
}

class ValuePart {
  constructor(type) {
    this.label = h("p", { class: "llm-label" });
    this.value = h("pre", { class: "llm-value", dir: "auto" });
    this.node = h("div", { class: "llm-part llm-box", "data-type": type, part: type }, this.label, this.value);
  }

  show(part) {
    const steer = part.type === "steer";
    put(this.label, steer ? `${WORDS.added}${part.author ? ` · ${part.author.name}` : ""}` : part.name);
    put(this.value, steer ? part.content : readable(part.data));
  }
}

class FilePart {
  node = h("p", { class: "llm-part" });

  show(part) {
    if (this.node.textContent) return;
    put(this.node, part.name);
    import("./files.js").then(({ showFile }) => showFile(this.node, part), () => {});
  }
}

class ToolPart {
  constructor(onDecide) {
    this.name = h("code", { class: "llm-tool-name", dir: "ltr" });
    this.brief = h("span", { class: "llm-tool-brief", dir: "auto" });
    this.state = h("span", { class: "llm-tool-state" });
    this.input = h("pre", { class: "llm-value", dir: "auto" });
    this.output = h("pre", { class: "llm-value", dir: "auto" });
    this.details = h("details", {}, h("summary", {}, this.name, this.brief, this.state), this.input, this.output);
    this.progress = h("progress", {});
    const decide = (decision) => () => onDecide(this.part.call, decision);
    this.buttons = h("div", { class: "llm-decision" });
    for (const decision of ["approve", "deny"]) {
      const attributes = { class: `llm-button llm-${decision}`, part: `button ${decision}` };
      this.buttons.append(button(WORDS[decision], attributes, decide(decision)));
    }
    this.node = h("div", { class: "llm-part llm-fold", "data-type": "tool", part: "tool" });
    this.node.append(this.details, this.progress, this.buttons);
  }

  show(part, message, canDecide) {
    this.part = part;
    const state = toolState(part, message.status !== "running");
    put(this.name, part.tool);
    put(this.brief, brief(part.input));
    put(this.state, stateText(part, state));
    put(this.input, readable(part.input));
    put(this.output, part.error ? part.error.message : "output" in part ? readable(part.output) : "");
    this.buttons.hidden = state !== "pending" || !canDecide;
    this.#showProgress(part, state);
    if (this.node.dataset.state === state) return;
    this.node.dataset.state = state;
    // Nobody should agree to what they have not seen.
    this.details.open = state === "pending";
    for (const node of this.buttons.children) node.setAttribute("aria-label", `${node.textContent}: ${part.tool}`);
  }

  #showProgress({ tool, progress }, state) {
    this.progress.hidden = state !== "running";
    this.progress.setAttribute("aria-label", tool);
    if (!progress?.total) return;
    this.progress.max = progress.total;
    this.progress.value = progress.done ?? 0;
  }
}

function stateText({ error, approval }, state) {
  const by = approval?.by ? ` · ${approval.by.name}` : "";
  if (state === "failed") return error.message || WORDS.tool.failed;
  return WORDS.tool[state] + (approval?.decision ? by : "");
}

function brief(input) {
  return input !== null && typeof input === "object" ? inline(Object.values(input)) : inline(input);
}

/** JSON for people: a line for each member of an object, the rest as it is. */
function readable(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return inline(value);
  return Object.entries(value).map(([key, member]) => `${key}: ${inline(member)}`).join("\n");
}

function inline(value) {
  if (Array.isArray(value)) return value.map(inline).join(", ");
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
