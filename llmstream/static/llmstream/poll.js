/** Where nothing streams: requests that wait for the next events. */

import { Feed, FeedTransport } from "./feeds.js";

/** How long the server may keep a request; less than proxies do. */
const WAIT_SECONDS = 25;
/** Between two requests, so that what is written meanwhile comes together; and where the server does not wait. */
const PAUSE_MS = 100;
const IDLE_MS = 2_000;
/** A server that has been asked to wait and says nothing sooner than this does not wait. */
const WAITED_MS = 1_000;

export class PollTransport extends FeedTransport {
  name = "poll";

  open(room, ref, held) {
    return new RoomPoll(room, ref, this.http, this.host, held ? WAIT_SECONDS : 0);
  }
}

/** Asks for the events of one room, again and again. */
export class RoomPoll extends Feed {
  #abort = new AbortController();

  constructor(room, ref, http, host, wait) {
    super(room, ref, http, host);
    this.wait = wait;
  }

  start() {
    if (this.status === "closed") return;
    this.stop();
    this.set({ status: "connecting" });
    this.#abort = new AbortController();
    this.#ask(this.room.lastEventId, 0, this.#abort.signal);
  }

  stop() {
    clearTimeout(this.timer);
    this.#abort.abort();
  }

  /** The first request does not wait: its answer is what tells that we are let in. */
  async #ask(after, wait, signal) {
    const begun = performance.now();
    let answer;
    try {
      answer = await this.http.events({ ...place(this.room), lastEventId: after }, wait, signal);
    } catch ({ code, status, message, retryAfter }) {
      if (!signal.aborted) this.failed(status, { code, status, message, retry_after_ms: retryAfter });
      return;
    }
    if (signal.aborted) return;
    if (!answer) return this.end("ended");
    const isFirst = this.status !== "open";
    this.opened();
    for (const { id = null, ...event } of answer.events) {
      if (!signal.aborted) this.onEvent(event, id);
    }
    if (signal.aborted) return;
    const isBusy = isFirst || answer.events.length || performance.now() - begun > WAITED_MS;
    const delay = answer.more || isFirst ? 0 : isBusy ? PAUSE_MS : IDLE_MS;
    const pause = this.wait ? delay : Math.max(delay, answer.more ? 0 : IDLE_MS);
    this.timer = setTimeout(() => this.#ask(answer.last_event_id, this.wait, signal), pause);
  }
}

const place = ({ id, generation }) => ({ id, generation });
