/** What SSE and polling share: a feed of its own for each room, and commands as requests. */

import { Backoff, LONGEST_MS } from "./backoff.js";

/** Answers to a request for events after which asking again would not help. */
const FINAL = new Set([401, 403, 404]);
/** Browsers open six connections to a site over HTTP/1.1; more feeds than these leave none to other requests. */
const MOST_HELD = 3;

/**
 * @typedef {object} FeedHost
 * @property {(room: any, state: import ("./client.js").ConnectionState) => void} onRoomState
 * @property {(frame: Record<string, any>) => void} onFrame
 * @property {() => boolean} onHeldBack a stream began and nothing of it arrives; returns whether somebody takes over
 */

/** Makes feeds by `open(room, ref, held)`; one that may not hold a connection asks from time to time. */
export class FeedTransport {
  /** Whether commands go over it, and whether its rooms stand differently. */
  carriesCommands = false;
  hasRoomStates = true;
  /** @type {Map<string, Feed>} */
  #feeds = new Map();

  /** @param {import ("./http.js").Http} http @param {FeedHost} host */
  constructor(http, host) {
    this.http = http;
    this.host = host;
  }

  start() {
    for (const feed of this.#feeds.values()) feed.start();
  }

  /** Close all feeds until `start` or `wake`. */
  stop() {
    for (const feed of this.#feeds.values()) feed.stop();
  }

  /** Try now what waits. Nothing tells whether a feed is alive, so open ones begin again when they are `suspect`. */
  wake(suspect) {
    for (const feed of this.#feeds.values()) feed.wake(suspect);
  }

  /** Nothing tells whether a feed is alive. */
  check() {}

  /** There is no socket, so nothing that is for sockets only is sent. */
  write() {
    return false;
  }

  join(room, ref) {
    const former = this.#drop(room.id);
    const held = former?.held || this.#held < mostHeld();
    const feed = this.open(room, ref, held);
    feed.held = held;
    this.#feeds.set(room.id, feed);
    feed.start();
  }

  leave({ id }) {
    if (!this.#drop(id)?.held) return;
    const next = [...this.#feeds.values()].find((feed) => !feed.held);
    if (next) this.join(next.room, next.ref);
  }

  get #held() {
    return [...this.#feeds.values()].filter((feed) => feed.held).length;
  }

  #drop(id) {
    const feed = this.#feeds.get(id);
    feed?.stop();
    this.#feeds.delete(id);
    return feed;
  }
}

/** Over HTTP/2 and later all requests of a page share one connection. */
function mostHeld() {
  const [page] = globalThis.performance?.getEntriesByType?.("navigation") ?? [];
  return /^h[23]/.test(page?.nextHopProtocol ?? "") ? Infinity : MOST_HELD;
}

/** The events of one room. Subclasses have `start` and `stop`. */
export class Feed {
  held = true;
  /** What else is told to one who is let in. @type {Record<string, any>} */
  welcome = {};
  /** @protected */
  backoff = new Backoff();
  /** @protected */
  timer;
  /** @protected */
  status = "";

  constructor(room, ref, http, host) {
    this.room = room;
    this.ref = ref;
    this.http = http;
    this.host = host;
  }

  wake(suspect) {
    if (this.status === "open" && !suspect) return;
    this.backoff.reset();
    this.start();
  }

  /** @protected The server has let us in. */
  opened() {
    this.backoff.opened();
    if (this.status === "open") return;
    this.status = "open";
    this.host.onFrame({ ...this.welcome, type: "joined", ref: this.ref, room: this.room.id });
  }

  /** @protected */
  onEvent(event, id) {
    this.host.onFrame({ type: "event", room: this.room.id, id, event });
    if (event.type === "message-end" && event.generation === this.room.generation) this.end("ended");
  }

  /** @protected Try again, unless the status says that it would not help. */
  failed(status, error, least = 0) {
    if (FINAL.has(status)) this.#refused(error ?? { code: "closed", message: `The server answered ${status}.` });
    else this.again({ least: error?.retry_after_ms ?? least });
  }

  /** @protected */
  again(how) {
    this.stop();
    let delay = this.backoff.next(how);
    if (delay === 0) return this.start();
    if (globalThis.navigator?.onLine === false) {
      delay = LONGEST_MS;
      this.set({ status: "offline" });
    } else {
      this.set({ status: "waiting", retryAt: Date.now() + delay });
    }
    this.timer = setTimeout(() => this.start(), delay);
  }

  /** @protected */
  end(reason) {
    this.stop();
    this.status = "closed";
    this.host.onFrame({ type: "end", room: this.room.id, reason });
  }

  /** @protected */
  set(state) {
    this.status = state.status;
    this.host.onRoomState(this.room, state);
  }

  #refused(error) {
    if (error.code === "not_found") return this.end("not_found");
    this.stop();
    this.set({ status: "closed", reason: error });
  }
}
