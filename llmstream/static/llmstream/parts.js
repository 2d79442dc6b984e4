/** Parts of an answer that are no text, as a pure function of its events. */

/** What begins a part, by the type of the event. */
const BEGINS = {
  "tool-call": ({ call, tool, input, step }) => ({ type: "tool", call, tool, input, step, approval: null }),
  data: ({ name, data }) => ({ type: "data", name, data }),
  "steer-accepted": ({ steer, content, author }) => ({ type: "steer", steer, content, author }),
};

/** What changes the part of a tool call. */
const CHANGES = {
  "tool-progress": (part, { progress }) => ({ ...part, progress }),
  "tool-approval-request": (part, { expires_at }) => ({ ...part, approval: { decision: null, by: null, expires_at } }),
  "tool-approval-response": (part, { decision, by }) => ({ ...part, approval: { ...part.approval, decision, by } }),
  "tool-result": ({ progress, ...part }, event) =>
    "error" in event ? { ...part, error: event.error } : { ...part, output: event.output },
};

/** The types of events that change such parts. */
export const PART_EVENTS = [...Object.keys(BEGINS), ...Object.keys(CHANGES)];

/** A message's parts after such an event. @param {any[]} parts @param {Record<string, any>} event */
export function changeParts(parts, event) {
  const next = [...parts];
  if (event.type in BEGINS) next[event.part] = BEGINS[event.type](event);
  const index = parts.findIndex((part) => part?.call === event.call);
  if (event.type in CHANGES && index >= 0) next[index] = CHANGES[event.type](parts[index], event);
  return next;
}

/** Whether a tool call among the parts waits for a decision. @param {any[]} parts */
export function isWaiting(parts) {
  return parts.some((part) => part?.approval && !part.approval.decision && !("output" in part) && !part.error);
}
