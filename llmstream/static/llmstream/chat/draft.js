/** What somebody has typed and not sent, kept in the browser for a week. */

const SAVE_AFTER_MS = 500;
const KEEP_MS = 7 * 24 * 60 * 60 * 1000;

export class Draft {
  #timer = 0;
  /** @type {string | null} */
  #typed = null;

  constructor(key) {
    this.key = key;
  }

  load() {
    try {
      const { text, at } = JSON.parse(localStorage.getItem(this.key) ?? "{}");
      return typeof text === "string" && Date.now() - at < KEEP_MS ? text : "";
    } catch {
      return "";
    }
  }

  save(text) {
    this.#typed = text;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), SAVE_AFTER_MS);
  }

  /** Write what this tab has typed, and nothing when it has typed nothing: another tab may have. */
  flush() {
    clearTimeout(this.#timer);
    if (this.#typed === null) return;
    try {
      if (this.#typed) localStorage.setItem(this.key, JSON.stringify({ text: this.#typed, at: Date.now() }));
      else localStorage.removeItem(this.key);
    } catch {
      // Storage is full or forbidden: the draft lives as long as the page.
    }
    this.#typed = null;
  }
}
