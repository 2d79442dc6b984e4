/** What changes messages and leads through their versions. The chat works without it and loads it after the rest. */

import { plainText } from "../state.js";
import { Composer } from "./composer.js";
import { button, h, put } from "./dom.js";
import { dress } from "./dress.js";
import { WORDS, _ } from "./words.js";

const OWN = Object.freeze({
  editMessage: _("Edit your message"),
  cancel: _("Cancel"),
  previousVersion: _("Previous version"),
  nextVersion: _("Next version"),
  version: (place, count) => _("Version {place} of {count}", { place, count }),
});

/** The way from one version of a message to the next: `‹ 2 / 3 ›`. */
export class Versions {
  #index = 0;
  #count = 0;

  /** @param {(step: 1 | -1) => void} onTurn */
  constructor(onTurn) {
    const turn = (label, sign, step) =>
      button(sign, { class: "llm-button llm-turn", part: "button turn", "aria-label": label }, () => {
        // Not disabled at the ends: focus would fall out of the chat.
        if (this.#index + step >= 0 && this.#index + step < this.#count) onTurn(step);
      });
    this.previous = turn(OWN.previousVersion, "‹", -1);
    this.next = turn(OWN.nextVersion, "›", 1);
    this.place = h("span", { dir: "ltr" });
    const attributes = { class: "llm-versions", part: "versions", role: "group", hidden: true };
    this.node = h("span", attributes, this.previous, this.place, this.next);
  }

  /** Take the place behind another element. @param {HTMLElement} other */
  follow(other) {
    other.after(this.node);
    dress(other, "branching.css");
  }

  /** Counts from 0 on. @param {number} index @param {number} count */
  show(index, count) {
    this.#index = index;
    this.#count = count;
    this.node.hidden = count < 2;
    this.node.setAttribute("aria-label", OWN.version(index + 1, count));
    put(this.place, `${index + 1} / ${count}`);
    this.previous.setAttribute("aria-disabled", String(index === 0));
    this.next.setAttribute("aria-disabled", String(index === count - 1));
  }
}

/** A message as it is edited, in the place of its text. */
export class Editor {
  /**
   * @param {string} text
   * @param {{onSend: (text: string) => Promise<boolean>, onCancel: () => void}} handlers `onSend` as a composer's
   */
  constructor(text, { onSend, onCancel }) {
    const input = h("textarea", { part: "input", rows: "1", dir: "auto", enterkeyhint: "send", autocomplete: "off" });
    input.setAttribute("aria-label", OWN.editMessage);
    const cancel = button(OWN.cancel, { class: "llm-button", part: "button cancel" }, onCancel);
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
    this.node.scrollIntoView({ block: "nearest" });
  }
}

/** Edit a message in its place. @param {import ("./message.js").MessageView} view */
export function beginEdit(view) {
  const { body, footer } = view;
  const end = () => {
    editor.node.remove();
    body.hidden = footer.hidden = false;
  };
  const onSend = async (text) => {
    const taken = await view.onEdit(view.message, text);
    if (taken) end();
    return taken;
  };
  const onCancel = () => {
    end();
    view.edit.focus();
  };
  const editor = new Editor(plainText(view.message), { onSend, onCancel });
  dress(body, "branching.css");
  body.hidden = footer.hidden = true;
  body.after(editor.node);
  editor.begin();
}
