/** Tool calls with their approval, data, steering messages. Loaded when there are any. */

import { button, h, put } from "./dom.js";
import { dress } from "./dress.js";
import { WORDS, _ } from "./words.js";

const OWN = Object.freeze({
  added: _("Added"),
  decisions: { approve: _("Approve"), deny: _("Deny") },
  state: {
    pending: _("Waits for your decision"),
    running: _("Running"),
    done: WORDS.done,
    failed: _("Failed"),
    denied: _("Denied"),
    unfinished: _("Not finished"),
  },
});

/** How a tool call stands; `ended` says that its answer is over. */
export function toolState(part, ended) {
  if ("output" in part) return "done";
  if (part.error) return part.error.code === "tool_denied" ? "denied" : "failed";
  if (ended) return "unfinished";
  return part.approval && !part.approval.decision ? "pending" : "running";
}

/** As `createPart` of `parts.js`. */
export function createView({ type }, onDecide) {
  return type === "tool" ? new ToolPart(onDecide) : new ValuePart(type);
}

class ValuePart {
  constructor(type) {
    this.label = h("p", { class: "llm-label" });
    this.value = h("pre", { class: "llm-value", dir: "auto" });
    this.node = h("div", { class: "llm-box", "data-type": type, part: type }, this.label, this.value);
  }

  show(part) {
    const steer = part.type === "steer";
    put(this.label, steer ? `${OWN.added}${part.author ? ` · ${part.author.name}` : ""}` : part.name);
    put(this.value, steer ? part.content : readable(part.data));
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
      this.buttons.append(button(OWN.decisions[decision], attributes, decide(decision)));
    }
    this.node = h("div", { class: "llm-fold", "data-type": "tool", part: "tool" });
    this.node.append(this.details, this.progress, this.buttons);
  }

  show(part, message, canDecide) {
    dress(this.node, "tool.css");
    this.part = part;
    const state = toolState(part, message.status !== "running");
    put(this.name, part.tool);
    put(this.brief, brief(part.input));
    put(this.state, stateText(part, state));
    put(this.input, readable(part.input));
    put(this.output, part.error ? _(part.error.message) : "output" in part ? readable(part.output) : "");
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
  if (state === "failed") return _(error.message) || OWN.state.failed;
  return OWN.state[state] + (approval?.decision ? by : "");
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
