/** The same over Server-Sent Events: an EventSource for each room, commands as requests. */

import { Backoff, LONGEST_MS } from "./backoff.js";
import { EVENT_TYPES } from "./wire.js";

/** How long a stream may take to begin. */
const OPEN_MS = 10_000;
/** An overloaded server that names no time is left alone for at least this long. */
const BUSY_MS = 3_000;
/** Answers to a request for events after which asking again would not help. */
const FINAL = new Set([401, 403, 404]);

/**
 * @typedef {object} StreamHost
 * @property {(room: import ("./room.js").Room, state: import ("./client.js").ConnectionState) => void} onRoomState
 * @property {(frame: Record<string, any>) => void} onFrame
 */

export class EventSourceTransport {
  name = "sse";
  /** @type {Map<string, RoomStream>} */
  #streams = new Map();

  /** @param {import ("./http.js").Http} http @param {StreamHost} host */
  constructor(http, host) {
    this.http = http;
    this.host = host;
  }

  start() {
    for (const stream of this.#streams.values()) stream.start();
  }

  /** Close all streams until `start` or `wake`. */
  stop() {
    for (const stream of this.#streams.values()) stream.stop();
  }

  /** Try now what waits. EventSource does not show heartbeats, so open streams are replaced when they are `suspect`. */
  wake(suspect) {
    for (const stream of this.#streams.values()) stream.wake(suspect);
  }

  /** Nothing tells whether a stream is alive. */
  check() {}

  /** There is no socket, so nothing that is for sockets only is sent. */
  write() {
    return false;
  }

  join(room, ref) {
    this.leave(room);
    const stream = new RoomStream(room, ref, this.http, this.host);
    this.#streams.set(room.id, stream);
    stream.start();
  }

  leave({ id }) {
    this.#streams.get(id)?.stop();
    this.#streams.delete(id);
  }
}

/** The stream of one room. */
class RoomStream {
  #source = null;
  #backoff = new Backoff();
  #timer;
  #status = "";

  constructor(room, ref, http, host) {
    this.room = room;
    this.ref = ref;
    this.http = http;
    this.host = host;
  }

  start() {
    if (this.#status === "closed") return;
    this.stop();
    this.#set({ status: "connecting" });
    const source = new EventSource(this.http.eventsUrl(this.room));
    this.#source = source;
    const listen = (type, handler) => {
      source.addEventListener(type, (event) => source === this.#source && handler(event));
    };
    listen("open", () => this.#onOpen());
    for (const type of EVENT_TYPES) listen(type, (event) => this.#onEvent(event));
    listen("rotate", () => this.#again({ atOnce: true }));
    listen("error", (event) => this.#onError(event));
    this.#timer = setTimeout(() => this.#again(), OPEN_MS);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  wake(suspect) {
    if (this.#status === "open" && !suspect) return;
    this.#backoff.reset();
    this.start();
  }

  #onOpen() {
    clearTimeout(this.#timer);
    this.#backoff.opened();
    this.#status = "open";
    this.host.onFrame({ type: "joined", ref: this.ref, room: this.room.id });
  }

  #onEvent({ data, lastEventId }) {
    const event = JSON.parse(data);
    // `reset` has no id of its own: EventSource repeats the one before.
    const id = event.type === "reset" ? null : lastEventId || null;
    this.host.onFrame({ type: "event", room: this.room.id, id, event });
    if (event.type === "message-end" && event.generation === this.room.generation) this.#end("ended");
  }

  /** The server's `error` event and the browser's own share a name; only the server's has data. */
  #onError({ data, target }) {
    if (data) {
      const { error } = JSON.parse(data);
      if (FINAL.has(error.status)) return this.#refused(error);
      return this.#again({ least: error.retry_after_ms ?? BUSY_MS });
    }
    if (target.readyState !== EventSource.CLOSED) return this.#again();
    this.#findOut();
  }

  /** The browser gives up for good when the answer is not a stream, and does not say why. */
  async #findOut() {
    const source = this.#source;
    clearTimeout(this.#timer);
    const { status, error } = await this.http.probe(this.http.eventsUrl(this.room));
    if (source !== this.#source) return;
    if (status === 204) this.#end("ended");
    else if (FINAL.has(status)) this.#refused(error ?? { code: "closed", message: `The server answered ${status}.` });
    else this.#again({ least: error?.retry_after_ms ?? 0 });
  }

  #again(how) {
    this.stop();
    let delay = this.#backoff.next(how);
    if (delay === 0) return this.start();
    if (globalThis.navigator?.onLine === false) {
      delay = LONGEST_MS;
      this.#set({ status: "offline" });
    } else {
      this.#set({ status: "waiting", retryAt: Date.now() + delay });
    }
    this.#timer = setTimeout(() => this.start(), delay);
  }

  #end(reason) {
    this.stop();
    this.#status = "closed";
    this.host.onFrame({ type: "end", room: this.room.id, reason });
  }

  #refused(error) {
    if (error.code === "not_found") return this.#end("not_found");
    this.stop();
    this.#set({ status: "closed", reason: error });
  }

  #set(state) {
    this.#status = state.status;
    this.host.onRoomState(this.room, state);
  }
}
