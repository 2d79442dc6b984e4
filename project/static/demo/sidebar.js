/** The list of conversations, as a drawer on small screens. */

export class Sidebar {
  constructor({ aside, list, opener, closer, backdrop, chatUrl }) {
    Object.assign(this, { aside, list, opener, chatUrl });
    opener.addEventListener("click", () => this.#toggle(true));
    closer.addEventListener("click", () => this.#toggle(false));
    backdrop.addEventListener("click", () => this.#toggle(false));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && opener.getAttribute("aria-expanded") === "true") this.#toggle(false);
    });
  }

  #toggle(open) {
    document.body.classList.toggle("sidebar-shown", open);
    this.opener.setAttribute("aria-expanded", String(open));
    if (open) this.aside.querySelector("a[aria-current], .new-chat").focus();
    else this.opener.focus();
  }

  /** Put the conversation on top under its present title; it is the one on show. */
  show({ id, title }) {
    let link = this.#link(id);
    if (!link) {
      link = document.createElement("a");
      link.href = `${this.chatUrl}${id}/`;
      link.dataset.id = id;
      link.dir = "auto";
      link.setAttribute("aria-current", "page");
      const item = document.createElement("li");
      item.append(link);
      this.list.prepend(item);
    }
    link.textContent = title || "Untitled";
  }

  /** Move to the top what has just been written to. */
  raise(id) {
    const item = this.#link(id)?.parentElement;
    if (item && item !== this.list.firstElementChild) this.list.prepend(item);
  }

  #link(id) {
    return this.list.querySelector(`a[data-id="${CSS.escape(id)}"]`);
  }
}
