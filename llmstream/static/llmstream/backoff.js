/** When to try again: exponential with full jitter, from half a second to 20 seconds. */

const FIRST_MS = 500;
const STABLE_MS = 10_000;

export const LONGEST_MS = 20_000;

export class Backoff {
  #failures = 0;
  #openedAt = null;

  /** The connection works. Once it has for ten seconds, the next break counts as the first. */
  opened() {
    this.#openedAt ??= performance.now();
  }

  /** Forget the failures: something has changed for the better, such as the network. */
  reset() {
    this.#failures = 0;
    this.#openedAt = null;
  }

  /**
   * Milliseconds to wait after a break. `atOnce` is for a break that the server asked for: no wait, unless such breaks
   * follow one another. `least` is the time that the server named.
   */
  next({ atOnce = false, least = 0 } = {}) {
    if (this.#openedAt !== null && performance.now() - this.#openedAt >= STABLE_MS) this.#failures = 0;
    this.#openedAt = null;
    const failures = this.#failures++;
    if (atOnce && failures === 0) return 0;
    return Math.max(least, Math.random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** failures));
  }
}
