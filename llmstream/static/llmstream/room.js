/** A room: one conversation, or one answer of it, as this client sees it. */

import { Emitter, isSeen, randomId } from "./wire.js";

/** Somebody who types says so this often at most, and is forgotten when nothing was heard for longer. */
const TYPING_MS = 3_000;
const TYPED_MS = 7_000;

/**
 * @typedef {{id: string, name: string}} User
 * @typedef {object} SendOptions
 * @property {string} [model] a key of the site's models
 * @property {"reject" | "queue" | "interrupt"} [busy] what to do while an answer is being written
 * @property {string} [parent] id of the message to answer to, or `root`; the branch on show goes on by default
 * @property {string} [edits] id of the message in whose place this one stands
 * @property {(string | {id: string})[]} [attachments] files that were uploaded, see `uploads.js`
 * @property {string} [clientId] up to 128 characters; a repeat with the same one starts nothing
 */

/**
 * Dispatches `event` for every event of the log and another one of the event's own type, with the wire's object as
 * `data` and its id as `id`; each once, in order. Beside them `state`, `joined`, `presence`, `typing`, `error`, `end`.
 */
export class Room extends Emitter {
  /** @type {import ("./client.js").ConnectionState} */
  state = { status: "connecting" };
  /** owner, writer or reader; null until the server has said so. @type {string | null} */
  role = null;
  /** Who is here, on how many devices; over WebSocket only. @type {{user: User, devices: number}[]} */
  members = [];
  #client;
  #shared;
  #typists = new Map();
  #saidAt = null;

  /**
   * Rooms come from `LLMStream.room`.
   * @param {string} id @param {{lastEventId?: string, generation?: string}} options @param {any} client
   */
  constructor(id, { lastEventId = "", generation }, client) {
    super();
    this.id = id;
    /** Only this answer, if given. @type {string | undefined} */
    this.generation = generation;
    /** The position that is reached; a page that is rendered later may begin from it. */
    this.lastEventId = lastEventId;
    this.#client = client;
  }

  /** Who types at the moment. @type {User[]} */
  get typists() {
    return [...this.#typists.values()].map(({ user }) => user);
  }

  /**
   * Add a prompt. It is sent again after every reconnection until the server has answered, and carried out once.
   * @param {string} content @param {SendOptions} [options]
   * @returns {Promise<{message: object, generation: object, last_event_id: string}>}
   */
  send(content, { clientId = randomId(), model, busy, parent, edits, attachments } = {}) {
    this.typing(false);
    const files = attachments?.map((/** @type {any} */ file) => file.id ?? file);
    const answers = { model, busy, parent, edits, attachments: files };
    return this.#client.command({ type: "send", room: this.id, content, client_id: clientId, ...answers });
  }

  /** Send a prompt in the place of another one, as a branch beside it. @param {string} message @param {string} content */
  edit(message, content, options = {}) {
    return this.send(content, { ...options, edits: message });
  }

  /** Show the branch that a message is on, to everybody. Sent again like a prompt. @param {string} message */
  chooseBranch(message) {
    return this.#client.command({ type: "choose", room: this.id, leaf: message });
  }

  /** End an answer, or a prompt that waits. Sent again like a prompt. @param {string} generation */
  stop(generation) {
    return this.#client.command({ type: "stop", generation });
  }

  /**
   * Answer the same prompt again, as a branch beside the answer that has ended. Sent again like a prompt.
   * @param {string} generation @param {SendOptions} [options] `model`, `busy` and `clientId`
   */
  retry(generation, { clientId = randomId(), model, busy } = {}) {
    return this.#client.command({ type: "retry", generation, client_id: clientId, model, busy });
  }

  /**
   * Hand a message to an answer at work. Sent again like a prompt.
   * @param {string} generation @param {string} content @param {{clientId?: string}} [options]
   */
  steer(generation, content, { clientId = randomId() } = {}) {
    return this.#client.command({ type: "steer", generation, content, client_id: clientId });
  }

  /** Let a tool call go ahead. Sent again like a prompt. @param {string} generation @param {string} call */
  approve(generation, call) {
    return this.#client.command({ type: "approve", generation, call });
  }

  /** Refuse a tool call. Sent again like a prompt. @param {string} generation @param {string} call */
  deny(generation, call) {
    return this.#client.command({ type: "deny", generation, call });
  }

  /** Tell the others that somebody types here, or no longer. Call it for every key: it is sent every 3 s at most. */
  typing(active = true) {
    const now = performance.now();
    const said = this.#saidAt !== null && now - this.#saidAt < TYPING_MS;
    if (active ? said : this.#saidAt === null) return;
    this.#saidAt = active ? now : null;
    this.#client.write({ type: "typing", room: this.id, active });
  }

  /** Show the others a state, such as a cursor, until it is null or we are gone. @param {object | null} state */
  presence(state) {
    this.#shared = state;
    if (this.state.status === "open") this.#share();
  }

  /** Drop what has been seen and take a new snapshot. */
  refresh() {
    this.lastEventId = "";
    this.#client.join(this);
  }

  /** Follow the conversation no longer. Commands that are under way go on. */
  leave() {
    this.#client.leave(this);
    this.setState({ status: "closed", reason: { code: "left", message: "" } });
  }

  /** @internal */
  setState(state) {
    if (this.state.status === "closed" && this.state.reason?.code === "left") return;
    this.state = state;
    if (state.status !== "open") this.#saidAt = null;
    this.emit("state", state);
  }

  /** @internal Take what the server says about this room. */
  receive(frame) {
    if (frame.type === "event") return this.#onEvent(frame.event, frame.id);
    if (frame.type === "joined") this.#onJoined(frame);
    else if (frame.type === "presence" && frame.members) this.members = frame.members;
    else if (frame.type === "typing") return this.#onTyping(frame);
    else if (frame.type === "end") this.setState({ status: "closed", reason: { code: frame.reason, message: "" } });
    this.emit(frame.type, frame.type === "error" ? frame.error : frame);
  }

  #onJoined({ role }) {
    this.role = role ?? this.role;
    this.members = [];
    this.setState({ status: "open" });
    if (this.#shared) this.#share();
  }

  #share() {
    this.#client.write({ type: "presence", room: this.id, state: this.#shared });
  }

  #onEvent(event, id) {
    if (event.type === "reset") this.lastEventId = "";
    else if (event.type !== "snapshot" && isSeen(id, this.lastEventId)) return;
    if (id) this.lastEventId = id;
    this.emit("event", event, id);
    this.emit(event.type, event, id);
  }

  #onTyping({ user, active }) {
    // A visitor who is not signed in is null.
    clearTimeout(this.#typists.get(user?.id)?.timer);
    if (active) this.#typists.set(user?.id, { user, timer: setTimeout(() => this.#stopped(user), TYPED_MS) });
    else this.#typists.delete(user?.id);
    this.emit("typing", { user, active });
  }

  #stopped(user) {
    this.#typists.delete(user?.id);
    this.emit("typing", { user, active: false });
  }
}
