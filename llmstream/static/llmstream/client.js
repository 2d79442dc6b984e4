/**
 * Conversations in the browser: one connection for all of them, which comes back by itself and goes on where it was.
 *
 *     const client = new LLMStream();
 *     const room = client.room(conversationId);
 *     room.on("text-delta", ({ data }) => output.append(data.delta));
 *     await room.send("Hello");
 */

import { Backoff } from "./backoff.js";
import { Connection } from "./connection.js";
import { Http } from "./http.js";
import { Outbox } from "./outbox.js";
import { Room } from "./room.js";
import { Tabs, canShare } from "./tabs.js";
import { ClientEvent, Emitter, LLMStreamError } from "./wire.js";

export { Conversation } from "./conversation.js";
export { ClientEvent, LLMStreamError, Room };

/** A larger frame would end the socket; it goes as a request. */
const FRAME_BYTES = 65_536;
/** After this long out of sight a stream may have died without a word. */
const AWAY_MS = 15_000;
/** A room that the server cannot open just now is asked for again after this time. */
const REJOIN_MS = 2_000;

/**
 * @typedef {object} ConnectionState
 * @property {"connecting" | "open" | "waiting" | "offline" | "closed"} status `offline`: the browser says that there is
 *   no network; `closed`: nothing more is tried
 * @property {number} [retryAt] of `waiting`: when the next try is, in milliseconds since 1970
 * @property {{code: string, message: string, closeCode?: number}} [reason] of `closed`
 *
 * @typedef {object} Options
 * @property {string} [url] address of the socket, `/ws/llmstream/` by default
 * @property {string} [api] where the site mounts `llmstream.urls`, `/llmstream/` by default
 * @property {string} [csrfToken] taken from the cookie `csrftoken` by default
 * @property {"auto" | "websocket" | "sse" | "poll"} [transport] `auto`, the default: a socket, SSE where none gets
 *   through, and polling where streams are held back
 * @property {string} [user] who is signed in: only tabs of the same user share a connection
 * @property {boolean} [share] whether tabs share a connection, true by default
 */

/** Dispatches `state` with a `ConnectionState` as `data`, and `error` for what the server refuses outside of rooms. */
export class LLMStream extends Emitter {
  /** @type {ConnectionState} */
  state = { status: "connecting" };
  #http;
  #transport;
  /** @type {Map<string, {room: Room, ref: number, joined: boolean}>} */
  #rooms = new Map();
  #outbox = new Outbox();
  #refs = 0;
  #backoff = new Backoff();
  #sending = Promise.resolve();
  #resend;
  #hiddenAt = 0;
  #listening = new AbortController();

  /** Connects at once. @param {Options} [options] */
  constructor(options = {}) {
    super();
    const { url = "/ws/llmstream/", api = "/llmstream/", csrfToken = "", transport = "auto" } = options;
    const { user = "", share = true } = options;
    const here = globalThis.location?.href;
    this.#http = new Http(new URL(api, here).href, csrfToken);
    const place = { url: new URL(url, here).href.replace(/^http/, "ws"), http: this.#http, mode: transport, user };
    place.connect = (host) => new Connection(place, host);
    this.#listen();
    this.#transport = share && canShare() ? new Tabs(place, this.#host) : place.connect(this.#host);
    this.#transport.start();
  }

  /** What is in use now; `tab`: the connection of another tab. @returns {"websocket" | "sse" | "poll" | "tab"} */
  get transport() {
    return this.#transport.name;
  }

  /**
   * Follow a conversation. Asked again for the same one, returns the room that is there.
   * @param {string} id of the conversation
   * @param {{lastEventId?: string, generation?: string}} [options] `lastEventId`: what the page has already; without it
   *   the room begins with a `snapshot`. `generation`: only this answer; the room ends with it
   */
  room(id, options = {}) {
    const entry = this.#rooms.get(id);
    if (entry && entry.room.generation !== options.generation) {
      throw new Error("The room follows something else; leave it first.");
    }
    if (entry) return entry.room;
    const room = new Room(id, options, this.#link);
    this.#rooms.set(id, { room, ref: 0, joined: false });
    if (this.state.status === "closed") room.setState(this.state);
    else this.#join(room);
    return room;
  }

  /** Try now, also after `closed`: the user has signed in again, or pressed a button. */
  connect() {
    if (this.#listening.signal.aborted) throw this.#gone();
    this.#transport.start();
  }

  /** Leave everything for good. What has not been answered is rejected with the code `closed`. */
  close() {
    this.#listening.abort();
    clearTimeout(this.#resend);
    this.#transport.stop();
    this.#setState({ status: "closed", reason: { code: "closed", message: "" } });
    this.#rooms.clear();
  }

  /** What rooms may ask for. */
  #link = {
    command: (frame) => this.#command(frame),
    write: (frame) => this.#transport.write(frame),
    join: (room) => this.#join(room),
    leave: (room) => {
      if (this.#rooms.get(room.id)?.room !== room) return;
      this.#rooms.delete(room.id);
      this.#transport.leave(room);
    },
  };

  /** What a connection may tell. */
  #host = {
    onState: (state) => this.#setState(state),
    onRoomState: (room, state) => {
      room.setState(state);
      this.#sumUp();
    },
    onFrame: (frame) => this.#receive(frame),
    onReady: () => {
      for (const { room } of this.#rooms.values()) this.#join(room);
      if (this.#transport.hasRoomStates) this.#sumUp();
      this.#flush();
    },
    onLost: () => {
      for (const entry of this.#rooms.values()) entry.joined = false;
      this.#outbox.socketLost();
    },
  };

  #listen() {
    const { signal } = this.#listening;
    const listen = (target, type, handler) => target?.addEventListener?.(type, handler, { signal });
    const page = globalThis.document;
    listen(globalThis, "online", () => this.#wake(true));
    listen(globalThis, "offline", () => this.#transport.check());
    // An open connection would keep the page out of the back/forward cache.
    listen(globalThis, "pagehide", () => this.#transport.stop());
    listen(globalThis, "pageshow", (event) => event.persisted && this.#wake(true));
    // A frozen page would keep a connection that it cannot serve.
    listen(page, "freeze", () => this.#transport.stop());
    listen(page, "resume", () => this.#wake(true));
    listen(page, "visibilitychange", () => {
      if (page.hidden) this.#hiddenAt = Date.now();
      else this.#wake(Date.now() - this.#hiddenAt > AWAY_MS);
    });
  }

  #wake(suspect) {
    if (this.state.status === "closed") return;
    this.#transport.wake(suspect);
    this.#flush();
  }

  #join(room) {
    const entry = this.#rooms.get(room.id);
    if (entry?.room !== room) return;
    entry.joined = false;
    entry.ref = ++this.#refs;
    this.#transport.join(room, entry.ref);
  }

  #command(frame) {
    if (this.state.status === "closed") return Promise.reject(this.#gone());
    const answer = this.#outbox.add({ ref: ++this.#refs, ...frame });
    this.#flush();
    return answer;
  }

  #gone() {
    return new LLMStreamError({ message: "The client is closed.", ...this.state.reason, code: "closed" });
  }

  /** Put on their way the commands that are not; what nothing can carry now waits for the next time. */
  #flush() {
    clearTimeout(this.#resend);
    for (const command of this.#outbox.waiting) {
      if (!this.#transport.carriesCommands || isLarge(command.frame)) this.#post(command);
      else if (this.#transport.write(command.frame)) command.via = "socket";
    }
  }

  /** One prompt after the other: their order is the conversation's. */
  #post(command) {
    command.via = "http";
    if (command.frame.type === "send") this.#sending = this.#sending.then(() => this.#request(command));
    else this.#request(command);
  }

  async #request(command) {
    try {
      this.#outbox.resolve(command.frame.ref, await this.#http.command(command.frame));
      this.#backoff.reset();
    } catch (error) {
      if (error.code !== "connection_lost") return void this.#outbox.reject(command.frame.ref, error);
      command.via = "";
      if (this.#listening.signal.aborted) return;
      clearTimeout(this.#resend);
      this.#resend = setTimeout(() => this.#flush(), this.#backoff.next());
    }
  }

  #receive(frame) {
    if (frame.type === "ack") return this.#onAck(frame);
    if (frame.type === "error") return this.#onError(frame);
    const entry = this.#rooms.get(frame.room);
    // What a room that was left, or is begun anew, still gets is not for us.
    if (!entry || (frame.type === "end" && frame.reason === "left")) return;
    if (frame.type === "joined") {
      if (frame.ref !== entry.ref) return;
      entry.joined = true;
    } else if (frame.type === "end") {
      this.#rooms.delete(frame.room);
      this.#transport.leave(entry.room);
    } else if (!entry.joined) {
      return;
    }
    entry.room.receive(frame);
    if (this.#transport.hasRoomStates && frame.type !== "event") this.#sumUp();
  }

  #onAck({ type, ref, ...result }) {
    this.#outbox.resolve(ref, result);
  }

  #onError(frame) {
    const error = new LLMStreamError(frame.error, frame);
    if (this.#outbox.reject(frame.ref, error)) return;
    const entry = this.#rooms.get(frame.room);
    if (entry && frame.ref === entry.ref && !entry.joined) this.#onRefused(entry, error);
    else if (entry) entry.room.receive(frame);
    else this.emit("error", frame.error);
  }

  #onRefused({ room, ref }, error) {
    if (error.temporary) {
      const again = () => this.#rooms.get(room.id)?.ref === ref && this.#join(room);
      return setTimeout(again, error.retryAfter ?? REJOIN_MS);
    }
    this.#rooms.delete(room.id);
    room.setState({ status: "closed", reason: { code: error.code, message: error.message } });
  }

  #setState(state) {
    const isNews = state.status !== "connecting" || this.state.status !== "connecting";
    this.state = state;
    if (isNews) this.emit("state", state);
    // Rooms are open when the server has let them in.
    if (state.status !== "open") for (const { room } of this.#rooms.values()) room.setState(state);
    if (state.status === "closed") this.#outbox.rejectAll(this.#gone());
  }

  /** Where each room stands for itself, as over SSE: all is well when all of them are, but for those refused to us. */
  #sumUp() {
    const states = [...this.#rooms.values()].map(({ room }) => room.state);
    const bad = ({ status, reason }) => (reason ? reason.code === "not_authenticated" : status !== "open");
    const state = states.find(bad) ?? { status: "open" };
    if (state === this.state || (state.status === "open" && this.state.status === "open")) return;
    this.state = state;
    this.emit("state", state);
    if (state.status === "closed") this.#outbox.rejectAll(this.#gone());
  }
}

function isLarge(frame) {
  return new TextEncoder().encode(JSON.stringify(frame)).length > FRAME_BYTES;
}
