/** The message box: Enter sends, drafts survive a reload, the box grows with its text. */

const SAVE_AFTER_MS = 500;
const KEEP_MS = 7 * 24 * 60 * 60 * 1000;

export class Composer {
  /** @type {Draft | null} */
  #draft = null;
  /** @type {import ("./files.js").Tray | undefined} */
  files;

  /**
   * @param {HTMLFormElement} form @param {HTMLTextAreaElement} input
   * @param {{onSend: (text: string, files?: any[]) => Promise<boolean>, onType: () => void}} handlers `onSend` resolves
   *   to whether the text was taken
   */
  constructor(form, input, { onSend, onType }) {
    Object.assign(this, { form, input, onSend });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    input.addEventListener("keydown", (event) => this.#onKey(event));
    input.addEventListener("input", () => {
      this.fit();
      this.#draft?.save(input.value);
      onType();
    });
  }

  /** Keep drafts under this key, and show the one that is there. */
  useDraft(key) {
    this.flush();
    this.#draft = new Draft(key);
    if (!this.text) this.text = this.#draft.load();
  }

  /** Let files go with the text. */
  async takeFiles(chat, announce, warn, room = chat.room) {
    const found = await import("./files.js").catch(() => {});
    if (chat.room !== room) return;
    if (found) this.files = new found.Tray(chat, this, { announce, warn });
    else room.addEventListener("state", () => this.takeFiles(chat, announce, warn, room), { once: true });
  }

  /** Write the draft now. */
  flush() {
    this.#draft?.flush();
  }

  set text(value) {
    this.input.value = value;
    this.fit();
  }

  get text() {
    return this.input.value;
  }

  /** Make the box as high as its text. */
  fit() {
    this.input.style.height = "auto";
    if (this.input.scrollHeight) this.input.style.height = `${this.input.scrollHeight}px`;
  }

  #onKey(event) {
    // Enter that ends an input method's composition is not a wish to send; Safari says so by key code 229 only.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.form.requestSubmit();
  }

  async #submit() {
    const { files } = this;
    const parts = files && (await files.take());
    const text = this.text.trim();
    if (!text && !parts?.length) return;
    const typed = this.text;
    const draft = this.#draft;
    this.text = "";
    if (await this.onSend(text, parts)) {
      draft?.save(this.#draft === draft ? this.text : "");
      draft?.flush();
      return;
    }
    files?.restore(parts);
    if (this.text) return;
    this.text = typed;
    draft?.save(typed);
  }
}

/** What somebody has typed and not sent, kept in the browser for a week. */
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
