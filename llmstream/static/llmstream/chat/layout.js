/** The chat's own elements, in its shadow root. */

import { button, h } from "./dom.js";
import { WORDS } from "./words.js";

/**
 * Build everything, hidden until the stylesheet is there; what stands inside the element is shown so long.
 * @param {ShadowRoot} root @param {() => void} onShown called when it gives way
 */
export function createLayout(root, onShown) {
  const log = h("div", { class: "llm-log", role: "log", "aria-live": "off", "aria-label": WORDS.conversation });
  const empty = h("slot", { name: "empty", hidden: true });
  const transcript = h("div", { class: "llm-viewport", part: "transcript", tabindex: "0", role: "group" }, log, empty);
  transcript.setAttribute("aria-label", WORDS.conversation);
  const latest = button(WORDS.latest, { class: "llm-button llm-latest", part: "button latest", hidden: true });
  const alert = h("p", { class: "llm-alert", part: "alert", role: "alert", hidden: true });
  const input = h("textarea", { part: "input", rows: "1", dir: "auto", enterkeyhint: "send", autocomplete: "off" });
  const light = h("span", { class: "llm-light", "aria-hidden": "true" });
  const connection = h("span", { class: "llm-connection-text" });
  const connect = button(WORDS.connectNow, { class: "llm-button", part: "button connect", hidden: true });
  const stop = button(WORDS.stop, { class: "llm-button llm-stop", part: "button stop", hidden: true });
  const send = h("button", { class: "llm-button llm-send", part: "button send" }, WORDS.send);
  const line = h("span", { class: "llm-connection", part: "connection" }, light, connection, connect);
  const form = h("form", { class: "llm-composer", part: "composer" }, input);
  const readOnly = h("p", { class: "llm-note", hidden: true }, WORDS.readOnly);
  form.append(h("div", { class: "llm-bar" }, line, stop, send));
  const status = h("p", { class: "llm-unseen", role: "status" });
  const dock = h("div", { class: "llm-dock" }, latest, alert, form, readOnly);
  const chat = h("section", { class: "llm-chat", part: "chat", hidden: true }, transcript, dock, status);
  const before = h("slot");
  root.append(createStylesheet(() => {
    before.remove();
    chat.hidden = false;
    onShown();
  }), before, chat);
  const parts = { chat, transcript, log, empty, latest, alert, form, input, line, connection, connect, stop, send };
  return { ...parts, readOnly, status };
}

/** The page's own link to the stylesheet, with its hashed address and its nonce, or the file beside this module. */
function createStylesheet(onReady) {
  const known = /** @type {HTMLLinkElement | null} */ (document.querySelector("link[data-llmstream]"));
  const link = /** @type {HTMLLinkElement} */ (h("link", { rel: "stylesheet" }));
  link.href = known?.href ?? new URL("../chat.css", import.meta.url).href;
  if (known?.nonce) link.nonce = known.nonce;
  // Without its looks the chat still works.
  for (const type of ["load", "error"]) link.addEventListener(type, onReady, { once: true });
  return link;
}
