/** The state of a conversation as a pure function of its events: no connection, no page, nothing changed in place. */

import { PART_EVENTS, changeParts, isWaiting } from "./parts.js";
import { isSeen } from "./wire.js";

/**
 * @typedef {{type: string, text?: string, [key: string]: any}} Part `type` is text, reasoning, tool, data or steer
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {"system" | "user" | "assistant"} role
 * @property {Part[]} parts of a running answer: so far
 * @property {string | null} parent id of the message that this one answers
 * @property {{id: string, name: string} | null} author
 * @property {"running" | "completed" | "stopped" | "failed" | "interrupted"} status
 * @property {string | null} generation id of the generation that writes it
 * @property {string} created_at
 * @property {number} [text_length] of an answer whose end has been seen: its characters, and
 * @property {string} [checksum] the digest of its text
 *
 * @typedef {object} Generation
 * @property {string} id
 * @property {string} message
 * @property {string} model
 * @property {"queued" | "running" | "waiting" | "completed" | "stopped" | "failed" | "interrupted"} status
 * @property {number} attempt
 * @property {string | null} finish_reason
 * @property {{code: string, message: string} | null} error
 * @property {Record<string, any>} [usage] tokens and cost of its last model call, once they are known
 * @property {{name: string, detail: string} | null} [phase] what is being done
 * @property {{steer: string, content: string, author: any}[]} [steers] messages that its model has not seen yet
 * @property {number} [left_out] turns of the history that its model was not sent
 *
 * @typedef {object} State
 * @property {{id: string, title: string, model: string} | null} conversation
 * @property {Map<string, Message>} messages in the order of their creation
 * @property {Map<string, Generation>} generations in the order of their creation
 * @property {string | null} leaf id of the message that ends the branch on show
 * @property {boolean} truncated whether there are older messages than these
 * @property {string} lastEventId the position that is reached
 */

const ACTIVE = new Set(["queued", "running", "waiting"]);
const PART_OF = { "text-delta": "text", "reasoning-delta": "reasoning" };

/** Nothing is known yet. @type {State} */
export const EMPTY = Object.freeze({
  conversation: null,
  messages: new Map(),
  generations: new Map(),
  leaf: null,
  truncated: false,
  lastEventId: "",
});

/**
 * The state after an event. An event that was applied before changes nothing, and types that are unknown change the
 * position only.
 * @param {State} state @param {Record<string, any>} event @param {string | null} [id] @returns {State}
 */
export function apply(state, event, id = null) {
  if (event.type === "snapshot") return fromSnapshot(event);
  if (event.type === "reset") return EMPTY;
  if (isSeen(id, state.lastEventId)) return state;
  const next = CHANGES[event.type]?.(state, event) ?? state;
  return id ? { ...next, lastEventId: id } : next;
}

/**
 * The state as the server describes it: a `snapshot` event, or the answer to `GET conversations/<id>/`.
 * @param {Record<string, any>} snapshot @returns {State}
 */
export function fromSnapshot(snapshot) {
  const { id, title, model, messages, generations, leaf = null, truncated = false } = snapshot;
  return {
    conversation: snapshot.conversation ?? { id, title, model },
    messages: new Map(messages.map((message) => [message.id, message])),
    generations: new Map(generations.map((generation) => [generation.id, generation])),
    leaf,
    truncated,
    lastEventId: snapshot.last_event_id,
  };
}

/** The messages of the branch on show, the first one first. @param {State} state @returns {Message[]} */
export function branch({ messages, leaf }) {
  const path = [];
  let message = messages.get(leaf) ?? [...messages.values()].at(-1);
  while (message) {
    path.unshift(message);
    message = messages.get(message.parent);
  }
  return path;
}

/**
 * The versions of each message: `versions(state).get(message.parent)` are the ids of those with the same parent.
 * @param {State} state @returns {Map<string | null, string[]>}
 */
export function versions({ messages }) {
  const found = new Map();
  for (const { id, parent } of messages.values()) {
    if (found.has(parent)) found.get(parent).push(id);
    else found.set(parent, [id]);
  }
  return found;
}

/** The generations at work, then those that wait for their turn. @param {State} state @returns {Generation[]} */
export function active({ generations }) {
  const found = [...generations.values()].filter(({ status }) => ACTIVE.has(status));
  const isQueued = ({ status }) => status === "queued";
  return [...found.filter((generation) => !isQueued(generation)), ...found.filter(isQueued)];
}

/** A message's text, without reasoning and the like. @param {Message} message */
export function plainText({ parts }) {
  return parts.filter((part) => part?.type === "text").map((part) => part.text).join("");
}

/**
 * Whether an ended answer has the text that the server has stored. Where the browser has no digests (outside of https
 * and localhost) the length decides.
 * @param {Message} message @returns {Promise<boolean>}
 */
export async function isIntact(message) {
  if (message.text_length === undefined) return true;
  const text = plainText(message);
  // The server counts code points.
  if ([...text].length !== message.text_length) return false;
  if (!message.checksum || !globalThis.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return message.checksum === `sha256:${Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

const CHANGES = {
  "message-created": (state, { message, generation }) => {
    const next = { ...state, messages: withEntry(state.messages, message.id, message), leaf: message.id };
    if (message.role !== "assistant" || state.generations.has(generation)) return next;
    // An answer waits for its turn until its generation starts.
    const queued = { id: generation, message: message.id, model: "", status: "queued", attempt: 1 };
    return changeGeneration(next, generation, { ...queued, finish_reason: null, error: null });
  },
  "generation-start": (state, { generation: id, message, model, attempt }) => {
    const started = { id, message, model, attempt, status: "running", finish_reason: null, error: null };
    return changeMessage(changeGeneration(state, id, started), message, { status: "running", generation: id });
  },
  "branch-chosen": (state, { leaf }) => ({ ...state, leaf }),
  context: (state, { generation, left_out }) => changeGeneration(state, generation, { left_out }),
  phase: (state, { generation, name, detail }) => changeGeneration(state, generation, { phase: { name, detail } }),
  steer: (state, { generation, steer, content, author }) => {
    const waiting = state.generations.get(generation)?.steers ?? [];
    return changeGeneration(state, generation, { steers: [...waiting, { steer, content, author }] });
  },
  ...Object.fromEntries(PART_EVENTS.map((type) => [type, tell])),
  "text-delta": grow,
  "reasoning-delta": grow,
  usage: (state, { type, message, generation, ...usage }) => changeGeneration(state, generation, { usage }),
  "message-end": (state, { message, generation, status, finish_reason, text_length, checksum, error = null }) => {
    const next = changeGeneration(state, generation, { status, finish_reason, error, phase: null, steers: [] });
    return changeMessage(next, message, { status, text_length, checksum });
  },
};

function grow(state, { type, message: id, part: index, delta }) {
  const parts = [...(state.messages.get(id)?.parts ?? [])];
  const part = parts[index] ?? { type: PART_OF[type], text: "" };
  parts[index] = { ...part, text: part.text + delta };
  return changeMessage(state, id, { parts });
}

function tell(state, event) {
  const before = state.messages.get(event.message)?.parts;
  if (!before) return state;
  const parts = changeParts(before, event);
  const { steers = [], status } = state.generations.get(event.generation) ?? {};
  const values = {
    // From the request to the last decision nobody works on it.
    status: isWaiting(parts) ? "waiting" : status === "waiting" ? "running" : status,
    steers: steers.filter(({ steer }) => steer !== event.steer),
  };
  return changeMessage(changeGeneration(state, event.generation, values), event.message, { parts });
}

/** What is said about a message that is not here, such as one older than a truncated snapshot, is passed over. */
function changeMessage(state, id, values) {
  const message = state.messages.get(id);
  return message ? { ...state, messages: withEntry(state.messages, id, { ...message, ...values }) } : state;
}

function changeGeneration(state, id, values) {
  return { ...state, generations: withEntry(state.generations, id, { ...state.generations.get(id), ...values }) };
}

function withEntry(map, key, value) {
  return new Map(map).set(key, value);
}
