/** One EventSource on a conversation: reconnects, resumes from an event id, and says how it stands. */

const TYPES = [
  "snapshot", "message-created", "branch-chosen", "generation-start", "phase", "text-delta", "reasoning-delta", "data",
  "tool-call", "tool-progress", "tool-approval-request", "tool-approval-response", "tool-result",
  "steer", "steer-accepted", "usage", "message-end",
];
const AWAY_MS = 15_000;
const MAX_BACKOFF_MS = 30_000;

export class Stream {
  #source = null;
  #timer = 0;
  #failures = 0;
  #hiddenAt = 0;

  /**
   * `lastEventId()` names the position to come back to. `onEvent(event, id)`, `onState(state)` with connecting, live,
   * reconnecting, signed-out or gone, and `onProblem(error)` are told. `probe()` finds out why the server refused.
   */
  constructor(url, { lastEventId, onEvent, onState, onProblem, probe }) {
    Object.assign(this, { url, lastEventId, onEvent, onState, onProblem, probe });
    onState("connecting");
    addEventListener("online", () => this.#source && this.open());
    addEventListener("pagehide", () => this.#stop());
    addEventListener("pageshow", (event) => event.persisted && this.open());
    document.addEventListener("visibilitychange", () => this.#onVisibility());
  }

  /** Connect from the last applied event, or from a new snapshot; drops the connection there may be. */
  open({ fresh = false } = {}) {
    this.#stop();
    const id = fresh ? "" : this.lastEventId();
    const source = new EventSource(id ? `${this.url}?last_event_id=${encodeURIComponent(id)}` : this.url);
    this.#source = source;
    source.addEventListener("open", () => {
      this.#failures = 0;
      this.onState("live");
    });
    for (const type of TYPES) {
      source.addEventListener(type, (event) => this.onEvent(JSON.parse(event.data), event.lastEventId));
    }
    source.addEventListener("rotate", () => this.open());
    source.addEventListener("error", (event) => this.#onError(event));
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  /** The server's `error` event and the browser's own share a name; only the server's has data. */
  #onError(event) {
    if (event.data) return this.onProblem(JSON.parse(event.data).error);
    this.onState("reconnecting");
    if (event.target.readyState === EventSource.CLOSED) this.#recover();
  }

  /** The browser gives up for good when the answer is not a stream. Find out why, and try again where that may help. */
  async #recover() {
    const refusal = await this.probe();
    if (refusal) {
      this.#stop();
      return this.onState(refusal);
    }
    const delay = Math.min(MAX_BACKOFF_MS, 500 * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.open(), delay);
  }

  /** A phone may have dropped the connection without a word while the page was away. */
  #onVisibility() {
    if (document.hidden) this.#hiddenAt = Date.now();
    else if (this.#source && Date.now() - this.#hiddenAt > AWAY_MS) this.open();
  }
}
