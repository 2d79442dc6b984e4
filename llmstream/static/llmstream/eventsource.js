/** The same over Server-Sent Events: an EventSource for each room. */

import { Feed, FeedTransport } from "./feeds.js";
import { RoomPoll } from "./poll.js";
import { EVENT_TYPES } from "./wire.js";

/** How long a stream may take to begin. */
const OPEN_MS = 10_000;
/** The server's first event comes at once; after this time something on the way holds the stream back. */
const HELD_BACK_MS = 2_000;
/** How long an answer that is being written may say nothing until the server is asked whether it has said something. */
const SILENT_MS = 4_000;
/** How much later than announced a sign of life may come. */
const LATE_MS = 5_000;
/** An overloaded server that names no time is left alone for at least this long. */
const BUSY_MS = 3_000;

export class EventSourceTransport extends FeedTransport {
  name = "sse";

  open(room, ref, held) {
    const Kind = held ? RoomStream : RoomPoll;
    return new Kind(room, ref, this.http, this.host, 0);
  }
}

/** The stream of one room. */
class RoomStream extends Feed {
  #source = null;
  /** The server is heard of at least this often. */
  #heartbeat = Infinity;
  #asking = new AbortController();

  start() {
    if (this.status === "closed") return;
    this.stop();
    this.set({ status: "connecting" });
    const source = new EventSource(this.http.streamUrl(this.room));
    this.#source = source;
    const listen = (type, handler) => {
      source.addEventListener(type, (event) => source === this.#source && handler(event));
    };
    listen("ready", ({ data }) => {
      this.#heartbeat = JSON.parse(data).heartbeat_ms ?? Infinity;
      this.#onArrival();
    });
    listen("heartbeat", () => this.#onArrival());
    for (const type of EVENT_TYPES) listen(type, (event) => this.#onEvent(event));
    listen("rotate", () => this.again({ atOnce: true }));
    listen("error", (event) => this.#onError(event));
    this.timer = setTimeout(() => this.#onHeldBack(), HELD_BACK_MS);
  }

  stop() {
    clearTimeout(this.timer);
    this.#asking.abort();
    this.#source?.close();
    this.#source = null;
  }

  /** Headers say little: a proxy may pass them on and keep what follows, also after it has let something through. */
  #onArrival(silence = this.#heartbeat + LATE_MS) {
    clearTimeout(this.timer);
    this.#asking.abort();
    this.opened();
    const wait = Math.min(silence, this.#heartbeat + LATE_MS);
    if (wait < Infinity) this.timer = setTimeout(() => this.#ask(wait), wait);
  }

  /** Nothing has come for a while: is there nothing, or is it held back? */
  async #ask(wait) {
    const { signal } = (this.#asking = new AbortController());
    const { id, generation, lastEventId } = this.room;
    let missed = [];
    try {
      missed = (await this.http.events({ id, generation, lastEventId }, 0, signal))?.events ?? [];
    } catch {
      // The stream itself tells when the server is away.
    }
    if (signal.aborted) return;
    if (missed.length) this.timer = setTimeout(() => this.#onHeldBack(), HELD_BACK_MS);
    else if (wait > this.#heartbeat) this.again({ atOnce: true });
    else this.#onArrival(2 * wait);
  }

  #onHeldBack() {
    if (!this.host.onHeldBack()) this.timer = setTimeout(() => this.again(), OPEN_MS - HELD_BACK_MS);
  }

  #onEvent({ data, lastEventId }) {
    const event = JSON.parse(data);
    this.#onArrival(event.type === "message-end" ? Infinity : SILENT_MS);
    // `reset` has no id of its own: EventSource repeats the one before.
    this.onEvent(event, event.type === "reset" ? null : lastEventId || null);
  }

  /** The server's `error` event and the browser's own share a name; only the server's has data. */
  #onError({ data, target }) {
    if (data) {
      const { error } = JSON.parse(data);
      return this.failed(error.status, error, BUSY_MS);
    }
    if (target.readyState !== EventSource.CLOSED) return this.again();
    this.#findOut();
  }

  /** The browser gives up for good when the answer is not a stream, and does not say why. */
  async #findOut() {
    const source = this.#source;
    clearTimeout(this.timer);
    const { status, error } = await this.http.probe(this.http.streamUrl(this.room));
    if (source !== this.#source) return;
    if (status === 204) this.end("ended");
    else this.failed(status, error);
  }
}

/** Resolves to whether a room's stream arrives as it is sent; takes at most a few seconds. */
export function streams(url) {
  return new Promise((resolve) => {
    const source = new EventSource(url);
    const done = (works) => {
      clearTimeout(timer);
      source.close();
      resolve(works);
    };
    const timer = setTimeout(() => done(false), HELD_BACK_MS);
    source.addEventListener("ready", () => done(true));
    source.addEventListener("error", () => done(false));
  });
}
