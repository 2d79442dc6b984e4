/** Leads from one version of a message to the next: `‹ 2 / 3 ›`. */

import { button, h, put } from "./dom.js";
import { WORDS } from "./words.js";

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
    this.previous = turn(WORDS.previousVersion, "‹", -1);
    this.next = turn(WORDS.nextVersion, "›", 1);
    this.place = h("span", { dir: "ltr" });
    const attributes = { class: "llm-versions", part: "versions", role: "group", hidden: true };
    this.node = h("span", attributes, this.previous, this.place, this.next);
  }

  /** Show that this is version `index`, from 0 on, of `count`. @param {number} index @param {number} count */
  show(index, count) {
    this.#index = index;
    this.#count = count;
    this.node.hidden = count < 2;
    this.node.setAttribute("aria-label", WORDS.version(index + 1, count));
    put(this.place, `${index + 1} / ${count}`);
    this.previous.setAttribute("aria-disabled", String(index === 0));
    this.next.setAttribute("aria-disabled", String(index === count - 1));
  }
}
