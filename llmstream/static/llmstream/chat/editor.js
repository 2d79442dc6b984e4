/** A message as it is edited, in the place of its text. */

import { Composer } from "./composer.js";
import { button, h } from "./dom.js";
import { WORDS } from "./words.js";

export class Editor {
  /**
   * @param {string} text
   * @param {{onSend: (text: string) => Promise<boolean>, onCancel: () => void}} handlers `onSend` as a composer's
   */
  constructor(text, { onSend, onCancel }) {
    const input = h("textarea", { part: "input", rows: "1", dir: "auto", enterkeyhint: "send", autocomplete: "off" });
    input.setAttribute("aria-label", WORDS.editMessage);
    const cancel = button(WORDS.cancel, { class: "llm-button", part: "button cancel" }, onCancel);
    const send = h("button", { class: "llm-button llm-send", part: "button send" }, WORDS.send);
    const bar = h("div", { class: "llm-bar llm-editor-bar" }, cancel, send);
    this.node = h("form", { class: "llm-composer llm-editor", part: "editor" }, input, bar);
    this.composer = new Composer(this.node, input, { onSend, onType: () => {} });
    this.composer.text = text;
    this.node.addEventListener("keydown", (event) => {
      // Escape that gives up an input method's composition gives up no more than that.
      if (event.key !== "Escape" || event.isComposing || event.keyCode === 229) return;
      event.stopPropagation();
      onCancel();
    });
  }

  /** Take the focus, with the cursor at the end; call it once the node is on the page. */
  begin() {
    const { input } = this.composer;
    this.composer.fit();
    input.focus();
    input.setSelectionRange(input.value.length, input.value.length);
  }
}
