/** What the reader thinks of answers: a thumb up or down, and a few words. Loaded after the rest. */

import { cookieToken } from "../http.js";
import { LLMStreamError, connectionLost } from "../wire.js";
import { button, h } from "./dom.js";
import { dress } from "./dress.js";
import { WORDS, _ } from "./words.js";

const OWN = Object.freeze({
  rating: _("Rate this answer"),
  up: _("Good answer"),
  down: _("Bad answer"),
  comment: _("What should be known about it? (optional)"),
  close: _("Close"),
  thanks: _("Your rating is saved."),
  withdrawn: _("Your rating is withdrawn."),
});
const THUMB = "M2 7h2.5v7H2zM6 14V7l2.6-5c1 0 1.8.8 1.8 1.8V6.2h3c.9 0 1.5.8 1.4 1.6l-.8 4.8c-.1.8-.8 1.4-1.6 1.4z";
const LONGEST = 1_000;

/** The ratings of one chat's reader. */
export class Ratings {
  /** From a message's id to what is thought of it. @type {Map<string, {rating: string, comment: string}>} */
  #given = new Map();
  #views = new WeakMap();
  #conversation = "";
  /** The latest rating's way to the server: the next waits for it, or the earlier of two might win. */
  #sent = Promise.resolve();

  /** @param {any} chat the element @param {{announce: (text: string) => void, warn: (text: string) => void}} say */
  constructor(chat, say) {
    Object.assign(this, { chat, say });
  }

  /** Show a message's buttons, if it is an answer that has ended. @param {import ("./message.js").MessageView} view */
  show(view) {
    const { message } = view;
    const isRated = message.role === "assistant" && message.status !== "running" && message.generation;
    if (isRated) this.#know();
    if (!isRated && !this.#views.has(view)) return;
    if (!this.#views.has(view)) this.#views.set(view, new Buttons(view, this));
    this.#views.get(view).show(isRated, this.#given.get(message.id));
  }

  /** Store a rating, or withdraw it when it is null; it is shown at once, and as it was if that fails. */
  async give(view, given) {
    const { id } = view.message;
    const before = this.#given.get(id);
    this.#set(id, given, view);
    this.say.warn("");
    const path = `messages/${encodeURIComponent(id)}/feedback/`;
    const sent = this.#sent.then(() => this.#request(given ? "POST" : "DELETE", path, given));
    this.#sent = sent.catch(() => {});
    try {
      await sent;
      this.say.announce(given ? OWN.thanks : OWN.withdrawn);
      return true;
    } catch (error) {
      this.#set(id, before, view);
      this.say.warn(_(error.message));
      return false;
    }
  }

  #set(id, given, view) {
    if (given) this.#given.set(id, given);
    else this.#given.delete(id);
    this.show(view);
  }

  /** The page carries what was thought before; without a page the server is asked. */
  async #know() {
    const { room, state } = this.chat;
    if (!room || this.#conversation === room.id) return;
    this.#conversation = room.id;
    this.#given.clear();
    const messages = [...state.messages.values()];
    for (const { id, feedback } of messages) if (feedback) this.#given.set(id, feedback);
    if (messages.some(({ feedback }) => feedback !== undefined)) return;
    try {
      const { feedback } = await this.#request("GET", `conversations/${encodeURIComponent(room.id)}/feedback/`);
      if (this.#conversation !== room.id || !Object.keys(feedback).length) return;
      this.#given = new Map([...Object.entries(feedback), ...this.#given]);
      this.chat.dispatchEvent(new Event("llm-ratings"));
    } catch {
      // The buttons are there all the same.
    }
  }

  async #request(method, path, body) {
    const address = new URL(path, new URL(this.chat.getAttribute("api") ?? "/llmstream/", location.href));
    const token = this.chat.getAttribute("csrf-token") || cookieToken();
    const headers = { Accept: "application/json", "X-CSRFToken": token };
    if (body) headers["Content-Type"] = "application/json";
    let response, answer;
    try {
      response = await fetch(address, { method, headers, body: body && JSON.stringify(body) });
      answer = response.status === 204 ? {} : await response.json();
    } catch {
      throw connectionLost();
    }
    if (!response.ok) throw answer.error ? new LLMStreamError(answer.error, answer) : connectionLost();
    return answer;
  }
}

/** The buttons of one message, and the box for a few words. */
class Buttons {
  #given;
  #form = null;

  constructor(view, ratings) {
    Object.assign(this, { view, ratings });
    this.up = this.#button("up");
    this.down = this.#button("down");
    const attributes = { class: "llm-rating", part: "rating", role: "group", "aria-label": OWN.rating };
    this.node = h("span", attributes, this.up, this.down);
    view.copy.before(this.node);
    dress(view.node, "feedback.css");
    ratings.chat.addEventListener("llm-ratings", () => ratings.show(view));
  }

  show(isShown, given) {
    this.#given = given;
    this.node.hidden = !isShown;
    for (const name of ["up", "down"]) this[name].setAttribute("aria-pressed", String(given?.rating === name));
    if (!given || !isShown) this.#close();
  }

  #button(rating) {
    const attributes = { class: "llm-button llm-thumb", part: "button thumb", "data-rating": rating };
    const node = button("", { ...attributes, "aria-label": OWN[rating], title: OWN[rating] }, () => this.#rate(rating));
    node.append(thumb());
    return node;
  }

  async #rate(rating) {
    if (this.#given?.rating === rating) return void this.ratings.give(this.view, null);
    const { comment = "" } = this.#given ?? {};
    this.#open(comment);
    await this.ratings.give(this.view, { rating, comment });
  }

  /** Focus stays on the button: few want to say more. */
  #open(comment) {
    this.#close();
    const input = h("input", { class: "llm-words", part: "input", dir: "auto", maxlength: LONGEST, value: comment });
    input.setAttribute("aria-label", OWN.comment);
    input.setAttribute("placeholder", OWN.comment);
    const send = h("button", { class: "llm-button", part: "button" }, WORDS.send);
    const close = button(OWN.close, { class: "llm-button", part: "button cancel" }, () => this.#end());
    this.#form = h("form", { class: "llm-comment", part: "comment" }, input, send, close);
    this.#form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const given = { rating: this.#given.rating, comment: input.value.trim() };
      if (await this.ratings.give(this.view, given)) this.#end();
    });
    this.#form.addEventListener("keydown", (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Escape") this.#end();
    });
    this.view.footer.after(this.#form);
  }

  /** Focus must not fall out of the chat with the box. */
  #end() {
    const { rating } = this.#given ?? {};
    this.#close();
    this[rating ?? "up"].focus();
  }

  #close() {
    this.#form?.remove();
    this.#form = null;
  }
}

function thumb() {
  const make = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const icon = make("svg", { width: "16", height: "16", viewBox: "0 0 16 16", "aria-hidden": "true" });
  icon.append(make("path", { d: THUMB }));
  return icon;
}
