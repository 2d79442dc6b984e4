/** The prompts that wait for their turn, the same for everybody. */

import { plainText } from "./store.js";

export class PromptQueue {
  /** `onRemove(generation)` is called with the id of a prompt's generation. */
  constructor(section, list, onRemove) {
    Object.assign(this, { section, list, onRemove });
  }

  show(generations, messages, me) {
    this.section.hidden = generations.length === 0;
    const known = new Map([...this.list.children].map((item) => [item.dataset.generation, item]));
    const items = generations.map((generation) => {
      const prompt = messages.get(messages.get(generation.message)?.parent);
      return known.get(generation.id) ?? this.#build(generation.id, prompt, me);
    });
    // Items keep their place, and a focused button its focus.
    items.forEach((item, index) => {
      if (this.list.children[index] !== item) this.list.insertBefore(item, this.list.children[index] ?? null);
    });
    while (this.list.children.length > items.length) this.list.lastElementChild.remove();
  }

  #build(generation, prompt, me) {
    const item = document.createElement("li");
    item.dataset.generation = generation;
    const author = document.createElement("bdi");
    author.className = "queue-author";
    author.textContent = prompt?.author?.id === me ? "You" : prompt?.author?.name ?? "";
    const text = document.createElement("span");
    text.className = "queue-text";
    text.dir = "auto";
    text.textContent = prompt ? plainText(prompt) : "";
    const remove = document.createElement("button");
    remove.className = "text-button";
    remove.type = "button";
    remove.textContent = "Remove";
    remove.addEventListener("click", () => this.onRemove(generation));
    item.append(author, text, remove);
    return item;
  }
}
