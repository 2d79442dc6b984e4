/** One room of a tab that another tab's connection serves. */

import { Feed } from "./feeds.js";
import { isSeen } from "./wire.js";

/**
 * Asks the server, as this tab's user, for what was missed, and then takes what the leader passes on. Each event comes
 * with the id of the one before it: where that is not the last one seen here, something is missing, or the event joins
 * parts that were seen with others, and the server is asked again.
 */
export class Seat extends Feed {
  /** How the leader's connection stands; null until it has let us in. */
  #line = null;
  /** What arrives while the server is asked. @type {[Record<string, any>, string][] | null} */
  #waiting = null;
  #abort = new AbortController();

  /** Take part from now on. */
  admit({ state, joined, members }) {
    this.#line = state;
    this.welcome = joined ?? {};
    this.members = members;
    this.start();
  }

  start() {
    this.stop();
    if (this.status !== "open") this.set({ status: "connecting" });
    this.#abort = new AbortController();
    this.#waiting = [];
    this.#ask(this.room.lastEventId, this.#abort.signal);
  }

  stop() {
    clearTimeout(this.timer);
    this.#abort.abort();
  }

  /** Take a frame; `after` is the event's predecessor on the leader's connection. */
  receive(frame, after) {
    if (!this.#line || this.status === "closed") return;
    if (this.#waiting) return void this.#waiting.push([frame, after]);
    if (frame.type === "joined") return this.#onJoined(frame);
    if (frame.type === "event" && !this.#isNext(frame, after)) return;
    this.host.onFrame(frame);
  }

  /** The leader's connection stands otherwise now. */
  follow(state) {
    if (!this.#line) return;
    this.#line = state;
    if (!this.#waiting) this.set(state);
  }

  async #ask(after, signal) {
    try {
      let answer;
      do {
        answer = await this.http.events({ id: this.room.id, lastEventId: after }, 0, signal);
        if (signal.aborted) return;
        this.#onOpened();
        for (const { id = null, ...event } of answer.events) this.onEvent(event, id);
        after = answer.last_event_id;
      } while (answer.more);
    } catch ({ code, status, message, retryAfter }) {
      if (!signal.aborted) this.failed(status, { code, status, message, retry_after_ms: retryAfter });
      return;
    }
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const [frame, before] of waiting) this.receive(frame, before);
    if (!this.#waiting && this.#line?.status !== "open") this.set(this.#line);
  }

  #onOpened() {
    const isNew = this.status !== "open";
    this.opened();
    if (isNew && this.members) this.host.onFrame(this.members);
  }

  #onJoined(frame) {
    this.#line = { status: "open" };
    this.welcome = frame;
    this.status = "";
    this.opened();
  }

  #isNext({ id, event }, after) {
    const last = this.room.lastEventId;
    if (!id) return true;
    if (isSeen(id, last)) return false;
    if (event.type === "snapshot" || after === last) return true;
    this.start();
    return false;
  }
}
