/** Parts of an answer that are no text: tool calls with their approval, data, steering messages. */

const STATES = {
  pending: "Waits for your decision",
  running: "Running",
  done: "Done",
  denied: "Denied",
  unfinished: "Not finished",
};

/** How a tool part stands; `ended` says that its answer is over. */
export function toolState(part, ended) {
  if ("output" in part) return "done";
  if (part.error) return part.error.code === "tool_denied" ? "denied" : "failed";
  if (ended) return "unfinished";
  return part.approval && !part.approval.decision ? "pending" : "running";
}

/** A part's element. `onDecide(call, decision)` is called when somebody approves or denies. */
export function buildOther(kind, onDecide) {
  const part = document.createElement("div");
  part.className = `part other ${kind}`;
  part.dataset.kind = kind;
  if (kind !== "tool") {
    part.append(element("p", "label"), element("pre", "value"));
    return part;
  }
  const details = element("details", "call");
  const summary = element("summary", "");
  summary.append(element("code", "name"), element("span", "brief"), element("span", "tool-state"));
  details.append(summary, element("pre", "input"), element("pre", "output"));
  const buttons = element("div", "decision");
  for (const [decision, label] of [["approve", "Approve"], ["deny", "Deny"]]) {
    const button = element("button", `text-button ${decision}`);
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => onDecide(part.dataset.call, decision));
    buttons.append(button);
  }
  part.append(details, element("progress", ""), buttons);
  return part;
}

/** Bring an element up to date with its part. */
export function showOther(node, part, ended) {
  if (part.type === "tool") showTool(node, part, ended);
  else if (part.type === "steer") show(node, part.author ? `${part.author.name} added` : "Added", part.content);
  else show(node, part.name, readable(part.data));
}

function show(node, label, value) {
  put(node.querySelector(".label"), label);
  put(node.querySelector(".value"), value);
}

function showTool(node, part, ended) {
  const state = toolState(part, ended);
  const changed = node.dataset.state !== state;
  node.dataset.call = part.call;
  node.dataset.state = state;
  put(node.querySelector(".name"), part.tool);
  put(node.querySelector(".brief"), inline(Object.values(part.input ?? {})));
  put(node.querySelector(".tool-state"), stateText(part, state));
  put(node.querySelector(".input"), readable(part.input));
  put(node.querySelector(".output"), part.error ? part.error.message : "output" in part ? readable(part.output) : "");
  node.querySelector(".decision").hidden = state !== "pending";
  // Nobody should agree to what they have not seen.
  if (changed) node.querySelector("details").open = state === "pending";
  const { done, total } = part.progress ?? {};
  const bar = node.querySelector("progress");
  bar.hidden = state !== "running";
  if (total) Object.assign(bar, { value: done, max: total });
  bar.setAttribute("aria-label", part.tool);
}

function stateText(part, state) {
  const by = part.approval?.by ? ` by ${part.approval.by.name}` : "";
  if (state === "failed") return part.error.message;
  if (state === "denied") return `${STATES.denied}${by}`;
  return part.approval?.decision === "approve" ? `${STATES[state]}, approved${by}` : STATES[state];
}

/** JSON for people: a line for each member of an object, the rest as it is. */
function readable(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return inline(value);
  return Object.entries(value).map(([key, member]) => `${key}: ${inline(member)}`).join("\n");
}

function inline(value) {
  if (Array.isArray(value)) return value.map(inline).join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function element(name, className) {
  const node = document.createElement(name);
  node.className = className;
  return node;
}
