/** Files: those that go with the next message, and those of messages. Loaded when there are any, or may be. */

import { removeUpload, upload } from "../uploads.js";
import { button, h } from "./dom.js";
import { dress } from "./dress.js";
import { _ } from "./words.js";

const WORDS = Object.freeze({
  attach: _("Attach files"),
  attached: _("Attached files"),
  remove: (name) => _("Remove {name}", { name }),
  added: (name) => _("{name} is attached.", { name }),
  removed: (name) => _("{name} is removed.", { name }),
  failed: (name, why) => `${name}: ${why}`,
  tooLarge: (bytes) => _("A file may have at most {size}.", { size: size(bytes) }),
  tooMany: (most) => _("A message may have at most {most} files.", { most }),
});

/** Pictures that browsers show and that nothing can be hidden in; the server has looked at what they are. */
const PICTURE = /^image\/(png|jpeg|gif|webp)$/;

/** The files of the message that is being written: chosen, dropped or pasted, uploaded at once. */
export class Tray {
  #entries = new Set();
  #listening = new AbortController();

  /**
   * @param {HTMLElement} chat the element, whose attributes say what it takes
   * @param {{form: HTMLFormElement, input: HTMLTextAreaElement}} composer
   * @param {{announce: (text: string) => void, warn: (text: string) => void}} say
   */
  constructor(chat, { form, input }, say) {
    Object.assign(this, { chat, input, say, conversation: /** @type {any} */ (chat).room.id });
    const accept = chat.getAttribute("attachments");
    this.picker = h("input", { type: "file", multiple: true, accept, hidden: true });
    this.button = button(WORDS.attach, { class: "llm-button llm-attach", part: "button attach" }, () => {
      this.picker.click();
    });
    this.list = h("ul", { class: "llm-files", part: "files", "aria-label": WORDS.attached, hidden: true });
    form.prepend(this.list);
    dress(form, "files.css");
    // Beside the button that sends: whoever types has the one that stops an answer next.
    form.lastElementChild.lastElementChild.before(this.button, this.picker);
    const { signal } = this.#listening;
    const listen = (target, type, handler) => target.addEventListener(type, handler, { signal });
    listen(this.picker, "change", () => {
      this.add(this.picker.files);
      this.picker.value = "";
      input.focus();
    });
    listen(form, "dragover", (event) => this.#takes(event.dataTransfer) && event.preventDefault());
    listen(form, "drop", (event) => this.#take(event, event.dataTransfer));
    listen(input, "paste", (event) => this.#take(event, event.clipboardData));
  }

  /** Upload files to go with the next message. @param {Iterable<File>} files */
  add(files) {
    this.say.warn("");
    const most = Number(this.chat.getAttribute("max-attachments") ?? Infinity);
    const largest = Number(this.chat.getAttribute("max-attachment-bytes") ?? Infinity);
    for (const file of files) {
      if (this.#entries.size >= most) return this.say.warn(WORDS.tooMany(most));
      if (file.size > largest) this.say.warn(WORDS.failed(file.name, WORDS.tooLarge(largest)));
      else this.#upload(file);
    }
  }

  /** Wait until all of it is there, and hand it over; what could not be uploaded has been told. */
  async take() {
    await Promise.all([...this.#entries].map(({ settled }) => settled));
    const parts = [...this.#entries].map(({ part }) => part).filter(Boolean);
    for (const entry of this.#entries) this.#drop(entry);
    return parts;
  }

  /** Show files again that were not taken. */
  restore(parts) {
    for (const part of parts) this.#show({ part, name: part.name, settled: Promise.resolve() }).progress.remove();
  }

  /** Give everything up: another conversation is shown. */
  close() {
    this.#listening.abort();
    for (const entry of this.#entries) this.#give(entry);
    for (const node of [this.list, this.button, this.picker]) node.remove();
  }

  #takes(data) {
    return data?.types.includes("Files");
  }

  #take(event, data) {
    if (!this.#takes(data)) return;
    event.preventDefault();
    this.add(data.files);
  }

  #upload(file) {
    const abort = new AbortController();
    const entry = this.#show({ name: file.name, abort });
    const onProgress = (share) => (entry.progress.value = share);
    entry.settled = upload(this.conversation, file, { ...this.#site, signal: abort.signal, onProgress }).then(
      (part) => {
        entry.part = part;
        entry.progress.remove();
        this.say.announce(WORDS.added(file.name));
      },
      (error) => {
        this.#drop(entry);
        if (error.name !== "AbortError") this.say.warn(WORDS.failed(file.name, _(error.message)));
      },
    );
  }

  #show(entry) {
    const { name } = entry;
    entry.progress = h("progress", { max: "1", value: "0", "aria-label": name });
    const remove = button("×", { class: "llm-button llm-remove", part: "button remove" }, () => {
      this.#give(entry);
      this.say.announce(WORDS.removed(name));
      // Focus must not fall out of the chat with the button.
      this.input.focus();
    });
    remove.setAttribute("aria-label", WORDS.remove(name));
    entry.node = h("li", { class: "llm-attached" }, h("bdi", {}, name), entry.progress, remove);
    this.list.append(entry.node);
    this.#entries.add(entry);
    this.list.hidden = false;
    return entry;
  }

  #give(entry) {
    entry.abort?.abort();
    if (entry.part) removeUpload(entry.part.id, this.#site);
    this.#drop(entry);
  }

  #drop(entry) {
    this.#entries.delete(entry);
    entry.node.remove();
    this.list.hidden = !this.#entries.size;
  }

  get #site() {
    const given = { api: this.chat.getAttribute("api"), csrfToken: this.chat.getAttribute("csrf-token") };
    return Object.fromEntries(Object.entries(given).filter(([, value]) => value));
  }
}

/** A file of a message: a link to it, with the picture if it is one. As `createPart` of `parts.js`. @param {any} part */
export function createView({ url, name, content_type, size: bytes }) {
  // A file that is not the site's own is not linked.
  const own = url && new URL(url, location.href).origin === location.origin;
  const attributes = { class: "llm-file", part: "file", href: own ? url : null, target: "_blank", rel: "noopener" };
  const node = h("a", attributes, h("bdi", {}, name));
  if (own && PICTURE.test(content_type)) {
    node.prepend(h("img", { class: "llm-thumbnail", src: url, alt: "", loading: "lazy" }));
  } else {
    node.append(h("span", { class: "llm-size" }, size(bytes)));
  }
  return { node, show: () => dress(node, "files.css") };
}

function size(bytes) {
  const [amount, unit] = bytes < 1e6 ? [bytes / 1e3, "kilobyte"] : [bytes / 1e6, "megabyte"];
  return amount.toLocaleString(undefined, { style: "unit", unit, maximumFractionDigits: 1 });
}
