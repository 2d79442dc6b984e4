/** The way to the server: a socket, streams where none gets through, polling where streams are held back. */

import { EventSourceTransport, streams } from "./eventsource.js";
import { PollTransport } from "./poll.js";
import { WebSocketTransport, answers } from "./websocket.js";

/** Connections in a row that are never heard from, until sockets are in doubt: at first, and once they have worked. */
const MISSES = { unproven: 2, proven: 3 };
/** When to see whether something better has begun to work, and the longest time between two looks. */
const PROBE_MS = 10_000;
const PROBE_MAX_MS = 600_000;
/** How long pages that are opened later begin with what has worked here. */
const REMEMBER_MS = 3_600_000;

/**
 * @typedef {object} ConnectionHost what a connection tells
 * @property {(state: import ("./client.js").ConnectionState) => void} onState how all rooms stand
 * @property {(room: any, state: import ("./client.js").ConnectionState) => void} onRoomState how one stands
 * @property {() => void} onReady rooms must be joined again, and frames can be sent
 * @property {() => void} onLost what was under way is lost
 * @property {(frame: Record<string, any>) => void} onFrame
 *
 * @typedef {object} Place
 * @property {string} url of the socket
 * @property {import ("./http.js").Http} http
 * @property {string} mode `auto`, or the one transport that is allowed
 * @property {(host: ConnectionHost) => Connection} [connect] opens one, for those who must not load this module
 */

export class Connection {
  #place;
  /** What transports may tell. */
  #host;
  #transport;
  #room;
  #status = "connecting";
  #proven = false;
  #isRemembered = false;
  #probeDelay = PROBE_MS;
  #probe;

  /** @param {Place} place @param {ConnectionHost} host */
  constructor(place, host) {
    this.#place = place;
    this.#host = {
      ...host,
      onState: (state) => this.#onState(state),
      onFrame: (frame) => this.#onFrame(frame),
      onUnreachable: (misses, timedOut) => this.#onUnreachable(misses, timedOut),
      onHeldBack: () => this.#onHeldBack(),
    };
    this.host = host;
  }

  /** `websocket`, `sse` or `poll`. */
  get name() {
    return this.#transport?.name ?? "websocket";
  }

  get carriesCommands() {
    return this.#transport?.carriesCommands ?? true;
  }

  get hasRoomStates() {
    return this.#transport?.hasRoomStates ?? false;
  }

  /** Connect; also after it was given up. */
  start() {
    if (!this.#transport) this.#begin();
    else if (this.#transport.hasRoomStates) this.#host.onReady();
    else this.#transport.start();
  }

  /** Close until `start` or `wake`. */
  stop() {
    clearTimeout(this.#probe);
    this.#probe = undefined;
    this.#transport?.stop();
  }

  wake(suspect) {
    if (this.#place.mode === "auto" && this.hasRoomStates) this.#probeLater();
    this.#transport?.wake(suspect);
  }

  check() {
    this.#transport?.check();
  }

  write(frame) {
    return this.#transport?.write(frame) ?? false;
  }

  join(room, ref) {
    this.#room = room;
    this.#transport?.join(room, ref);
  }

  leave(room) {
    this.#transport?.leave(room);
  }

  #begin() {
    const { mode } = this.#place;
    const last = mode === "auto" ? this.#recall() : mode;
    const name = typeof WebSocket === "undefined" && last === "websocket" ? "sse" : last;
    this.#use(name);
    if (mode === "auto" && name !== "websocket") this.#probeLater();
  }

  #use(name) {
    this.#transport?.stop();
    this.#status = "connecting";
    this.#isRemembered = false;
    const { http, url } = this.#place;
    if (name === "websocket") {
      this.#transport = new WebSocketTransport(url, this.#host);
      this.#transport.start();
      return;
    }
    const Kind = name === "poll" || typeof EventSource === "undefined" ? PollTransport : EventSourceTransport;
    this.#transport = new Kind(http, this.#host);
    this.#host.onReady();
  }

  #onState(state) {
    this.#status = state.status;
    if (state.status === "open") {
      this.#proven = true;
      this.#remember();
    }
    this.host.onState(state);
  }

  #onFrame(frame) {
    if (frame.type === "joined" && this.hasRoomStates) this.#remember();
    this.host.onFrame(frame);
  }

  #onUnreachable(misses, timedOut) {
    if (this.#place.mode !== "auto") return false;
    if (this.#proven && misses >= MISSES.proven) this.#doubt();
    if (this.#proven || (misses < MISSES.unproven && !timedOut)) return false;
    this.#fallBack("sse");
    return true;
  }

  #onHeldBack() {
    if (this.#place.mode !== "auto") return false;
    this.#fallBack("poll");
    return true;
  }

  /** Sockets have worked and do not any more: is it them, or the whole server? */
  async #doubt() {
    const transport = this.#transport;
    if (!(await this.#place.http.isReachable())) return;
    if (this.#transport === transport && this.#status !== "open" && this.#status !== "closed") this.#fallBack("sse");
  }

  #fallBack(name) {
    this.#use(name);
    this.#probeLater();
  }

  /** What blocks or holds back may do so for a while only, as in a network that one leaves. */
  #probeLater() {
    clearTimeout(this.#probe);
    const timer = setTimeout(async () => {
      const better = globalThis.document?.hidden ? null : await this.#findBetter();
      if (timer !== this.#probe) return;
      if (better) {
        this.#probeDelay = PROBE_MS;
        this.#use(better);
        if (better === "websocket") return;
      } else if (better === "") {
        this.#probeDelay = Math.min(PROBE_MAX_MS, this.#probeDelay * 2);
      }
      this.#probeLater();
    }, this.#probeDelay);
    this.#probe = timer;
  }

  /** The name of what works and is better than what is in use, or empty. */
  async #findBetter() {
    if (typeof WebSocket !== "undefined" && (await answers(this.#place.url))) return "websocket";
    if (this.name === "sse" || !this.#room || typeof EventSource === "undefined") return "";
    return (await streams(this.#place.http.streamUrl(this.#room))) ? "sse" : "";
  }

  get #key() {
    return `llmstream-transport:${this.#place.http.api}`;
  }

  /** A page that is opened soon begins with what works. Sockets are what all begin with otherwise. */
  #remember() {
    if (this.#isRemembered || this.#place.mode !== "auto") return;
    this.#isRemembered = true;
    try {
      if (this.name === "websocket") localStorage.removeItem(this.#key);
      else localStorage.setItem(this.#key, JSON.stringify([this.name, Date.now() + REMEMBER_MS]));
    } catch {
      // A browser that keeps nothing finds out each time.
    }
  }

  #recall() {
    try {
      const [name, until] = JSON.parse(localStorage.getItem(this.#key) ?? "[]");
      if (until > Date.now() && (name === "sse" || name === "poll")) return name;
    } catch {
      // As if there were nothing.
    }
    return "websocket";
  }
}
