/** The message box: Enter sends, drafts survive a reload, the box grows with its text. */

import { Draft } from "../llmstream/chat/composer.js";

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
    addEventListener("pagehide", () => this.#draft?.flush());
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
