/** The message box: Enter sends, drafts survive a reload, the box grows with its text. */

const SAVE_AFTER_MS = 500;
const KEEP_MS = 7 * 24 * 60 * 60 * 1000;

class Draft {
  #timer = 0;
  #pending = null;

  constructor(key) {
    this.key = key;
    addEventListener("pagehide", () => this.flush());
  }

  load() {
    try {
      const { text, at } = JSON.parse(localStorage.getItem(this.key)) ?? {};
      return text && Date.now() - at < KEEP_MS ? text : "";
    } catch {
      return "";
    }
  }

  save(text) {
    this.#pending = text;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), SAVE_AFTER_MS);
  }

  /** Write what this tab has typed, and nothing when it has typed nothing: another tab may have. */
  flush() {
    clearTimeout(this.#timer);
    if (this.#pending === null) return;
    try {
      if (this.#pending) localStorage.setItem(this.key, JSON.stringify({ text: this.#pending, at: Date.now() }));
      else localStorage.removeItem(this.key);
    } catch {
      // Storage is full or forbidden: the draft lives as long as the page.
    }
    this.#pending = null;
  }
}

export class Composer {
  #draft = null;

  /** `onSend(text)` resolves to whether the text was taken; it comes back into the box when not. */
  constructor(form, input, onSend) {
    Object.assign(this, { form, input, onSend });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    input.addEventListener("keydown", (event) => this.#onKey(event));
    input.addEventListener("input", () => {
      this.#fit();
      this.#draft?.save(input.value);
    });
  }

  /** Keep drafts under this key from now on, and show the one that is there. */
  useDraft(key) {
    this.#draft?.flush();
    this.#draft = new Draft(key);
    if (!this.input.value) this.text = this.#draft.load();
  }

  set text(value) {
    this.input.value = value;
    this.#fit();
  }

  get text() {
    return this.input.value;
  }

  focus() {
    // On a touch screen focus would open the keyboard over the answer.
    if (matchMedia("(pointer: fine)").matches) this.input.focus();
  }

  #onKey(event) {
    // Enter that ends an input method's composition is not a wish to send; Safari says so by key code 229 only.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.form.requestSubmit();
  }

  async #submit() {
    const text = this.text.trim();
    if (!text) return;
    const typed = this.text;
    const draft = this.#draft;
    this.text = "";
    if (await this.onSend(text)) {
      draft?.save("");
      draft?.flush();
      if (this.text) this.#draft?.save(this.text);
    } else if (!this.text) {
      this.text = typed;
      this.#draft?.save(typed);
    }
  }

  #fit() {
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight}px`;
  }
}
