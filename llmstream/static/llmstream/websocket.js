/** One WebSocket for all rooms: connects, finds out that it is dead, and connects again. */

import { Backoff, LONGEST_MS } from "./backoff.js";

/** How long a handshake, and the first frame after it, may take. */
const OPEN_MS = 4_000;
/** The server speaks at least every 15 seconds. */
const SILENCE_MS = 20_000;
/** How long a socket may take to show that it is alive after the network or the page came back. */
const CHECK_MS = 4_000;
/** Keeps what is between us and the server from forgetting the connection. */
const PING_MS = 20_000;

/** 40xx and 44xx: trying again would not help. */
const isFinal = (code) => (code >= 4000 && code < 4100) || (code >= 4400 && code < 4500);
const isAtOnce = (code) => code >= 4200 && code < 4300;
/** For a close without an error before it. */
const CODES = { 4401: "not_authenticated", 4403: "permission_denied" };

/**
 * @typedef {object} SocketHost what a transport tells its client
 * @property {(state: import ("./client.js").ConnectionState) => void} onState
 * @property {() => void} onReady frames can be sent
 * @property {() => void} onLost what was under way is lost
 * @property {(frame: Record<string, any>) => void} onFrame
 * @property {(misses: number, timedOut: boolean) => boolean} onUnreachable `misses` connections in a row were never
 *   heard from; returns whether somebody else takes over
 */

export class WebSocketTransport {
  name = "websocket";
  carriesCommands = true;
  hasRoomStates = false;
  #socket = null;
  #status = "";
  #heard = false;
  #error = null;
  #misses = 0;
  #backoff = new Backoff();
  #watchdog;
  #retry;
  #pinger;

  /** @param {string} url @param {SocketHost} host */
  constructor(url, host) {
    this.url = url;
    this.host = host;
  }

  start() {
    this.#drop();
    this.#set({ status: "connecting" });
    let socket;
    try {
      socket = new WebSocket(this.url);
    } catch {
      // A content policy or a browser that refuses the address.
      return this.#lost();
    }
    this.#socket = socket;
    const listen = (type, handler) => {
      socket.addEventListener(type, (event) => socket === this.#socket && handler(event));
    };
    listen("open", () => this.#onOpen());
    listen("message", (event) => this.#onMessage(event.data));
    listen("close", (event) => this.#onClose(event));
    this.#watch(OPEN_MS);
  }

  /** Close the socket and stay closed until `start` or `wake`. */
  stop() {
    this.#status = "waiting";
    if (this.#drop()) this.host.onLost();
  }

  /** The network or the page came back: try now, or see whether the socket has survived. */
  wake() {
    if (this.#status === "waiting" || this.#status === "offline") {
      this.#backoff.reset();
      this.start();
    } else if (this.#status === "open") {
      this.check();
    }
  }

  /** The network may be gone: give the socket a few seconds to show that it is alive. */
  check() {
    if (this.write({ type: "ping" })) this.#watch(CHECK_MS);
  }

  /** Send a frame; false when there is no open socket. */
  write(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  join({ id, generation, lastEventId }, ref) {
    this.write({ type: "join", ref, room: id, last_event_id: lastEventId || undefined, generation });
  }

  leave({ id }) {
    this.write({ type: "leave", room: id });
  }

  #onOpen() {
    this.#watch(OPEN_MS);
    // So that there is an answer, even without a room: some proxies accept a socket and carry nothing.
    this.write({ type: "ping" });
    this.host.onReady();
    this.#pinger = setInterval(() => globalThis.document?.hidden || this.write({ type: "ping" }), PING_MS);
  }

  #onMessage(data) {
    this.#watch(SILENCE_MS);
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    this.#heard = true;
    this.#misses = 0;
    // An error may be the reason of the close that follows.
    this.#error = frame.type === "error" ? frame.error : null;
    if (!this.#error && this.#status === "connecting") {
      this.#backoff.opened();
      this.#set({ status: "open" });
    }
    this.host.onFrame(frame);
  }

  #onClose({ code: closeCode, reason: message }) {
    if (!isFinal(closeCode)) return this.#lost({ atOnce: isAtOnce(closeCode) });
    const reason = { code: CODES[closeCode] ?? "closed", message, ...this.#error, closeCode };
    this.#drop();
    this.#set({ status: "closed", reason });
  }

  #lost({ atOnce = false, timedOut = false } = {}) {
    const least = this.#error?.retry_after_ms ?? 0;
    const heard = this.#heard;
    this.#drop();
    this.host.onLost();
    if (!heard && this.host.onUnreachable(++this.#misses, timedOut)) return;
    let delay = this.#backoff.next({ atOnce, least });
    if (delay === 0) return this.start();
    if (globalThis.navigator?.onLine === false) {
      // `online` ends this; browsers are not always right about it.
      delay = LONGEST_MS;
      this.#set({ status: "offline" });
    } else {
      this.#set({ status: "waiting", retryAt: Date.now() + delay });
    }
    this.#retry = setTimeout(() => this.start(), delay);
  }

  /** Returns whether there was a socket. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#heard = false;
    this.#error = null;
    clearTimeout(this.#watchdog);
    clearTimeout(this.#retry);
    clearInterval(this.#pinger);
    socket?.close(1000);
    return Boolean(socket);
  }

  #watch(milliseconds) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lost({ timedOut: true }), milliseconds);
  }

  #set(state) {
    this.#status = state.status;
    this.host.onState(state);
  }
}

/** Resolves to whether a socket can be opened and serves us; takes at most a few seconds. */
export function answers(url) {
  return new Promise((resolve) => {
    let socket;
    try {
      socket = new WebSocket(url);
    } catch {
      return resolve(false);
    }
    const done = (works) => {
      clearTimeout(timer);
      socket.close(1000);
      resolve(works);
    };
    const timer = setTimeout(() => done(false), 2 * OPEN_MS);
    socket.addEventListener("open", () => socket.send('{"type":"ping"}'));
    socket.addEventListener("message", (event) => done(String(event.data).includes('"pong"')));
    socket.addEventListener("close", () => done(false));
  });
}
