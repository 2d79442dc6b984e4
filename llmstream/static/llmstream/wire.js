/** The wire's vocabulary, ids and errors, the same over every transport. */

/** The types of events that a conversation's log carries, and of those that only streams do. */
export const EVENT_TYPES = [
  "snapshot", "reset", "message-created", "branch-chosen", "generation-start", "context", "phase", "data",
  "text-delta", "reasoning-delta", "tool-call", "tool-progress", "tool-approval-request", "tool-approval-response",
  "tool-result", "steer", "steer-accepted", "usage", "message-end",
];

/** Whether the event `id` is not newer than `last`. Ids of one conversation and epoch sort as text. */
export function isSeen(id, last) {
  const epoch = (text) => text.slice(0, text.lastIndexOf("."));
  return Boolean(id && last) && epoch(id) === epoch(last) && id <= last;
}

/** A random id of 128 bits; `crypto.randomUUID` exists on https and localhost only. */
export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What went wrong, in the words of the server's error envelope. */
export class LLMStreamError extends Error {
  /**
   * @param {Record<string, any>} error the envelope's `error`
   * @param {Record<string, any>} [body] the whole answer: what came beside `error`, such as the running `generation`
   */
  constructor(error, body = {}) {
    super(error.message ?? "The server cannot be reached.");
    this.name = "LLMStreamError";
    /** Stable: one of the server's codes, or `connection_lost`, `closed`. */
    this.code = error.code ?? "error";
    /** As in HTTP; 0 when no answer came. */
    this.status = error.status ?? 0;
    /** Whether the same may succeed later. */
    this.temporary = error.temporary ?? false;
    /** Milliseconds to wait before trying again, if the server named a time. */
    this.retryAfter = error.retry_after_ms ?? null;
    this.body = body;
  }
}

/** The connection broke before the answer came, so nobody knows whether the command was carried out. */
export function connectionLost() {
  const message = "The connection broke before the answer came.";
  return new LLMStreamError({ code: "connection_lost", message, temporary: true });
}

/** What clients and rooms dispatch. */
export class ClientEvent extends Event {
  /** @param {string} type @param {any} data @param {string | null} [id] */
  constructor(type, data, id = null) {
    super(type);
    /** What happened: the wire's object, or a state. */
    this.data = data;
    /** The event's id in the log, if it has one. */
    this.id = id;
  }
}

/** An `EventTarget` with less to type. */
export class Emitter extends EventTarget {
  /**
   * Listen; returns what ends it.
   * @param {string} type @param {(event: ClientEvent) => void} listener @returns {() => void}
   */
  on(type, listener) {
    const handler = /** @type {EventListener} */ (listener);
    this.addEventListener(type, handler);
    return () => this.removeEventListener(type, handler);
  }

  /** @protected */
  emit(type, data, id = null) {
    this.dispatchEvent(new ClientEvent(type, data, id));
  }
}
