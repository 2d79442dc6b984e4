/** Every text that the chat shows by itself, in the page's language where the page carries it. */

const carried = globalThis.document?.getElementById("llmstream-texts");
/** From the English text to the one to show. @type {Map<string, string>} */
const TEXTS = new Map(Object.entries(JSON.parse(carried?.textContent ?? "{}")));

/** The text to show for an English one, with `values` in the places of their names in braces. @param {string} text */
export function _(text, values = {}) {
  return (TEXTS.get(text) ?? text).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export const WORDS = Object.freeze({
  chat: _("Chat"),
  conversation: _("Conversation"),
  message: _("Message"),
  placeholder: _("Write a message"),
  you: _("You"),
  assistant: _("Assistant"),
  send: _("Send"),
  stop: _("Stop the answer"),
  retry: _("Retry"),
  regenerate: _("Regenerate"),
  edit: _("Edit"),
  leftOut: (turns) => _("Turns left out of the history: {turns}", { turns }),
  latest: _("Latest"),
  copy: _("Copy"),
  copied: _("Copied"),
  notCopied: _("Not copied"),
  connectNow: _("Try now"),
  readOnly: _("You can read this conversation, not write in it."),
  sending: _("Sending…"),
  queued: _("Waiting for its turn"),
  reasoning: _("Reasoning"),
  image: _("Image"),
  table: _("Table"),
  code: _("Code"),
  done: _("Done"),
  toDo: _("To do"),
  cut: _("Cut off at the length limit."),
  older: _("Older messages are not shown."),
  signedOut: _("You are signed out. Reload the page to sign in again."),
  gone: _("This conversation is not there any more."),
  ended: {
    stopped: _("Stopped."),
    failed: _("The answer failed."),
    interrupted: _("The answer was interrupted."),
  },
  connection: {
    connecting: _("Connecting"),
    open: _("Connected"),
    waiting: _("Reconnecting"),
    offline: _("Offline"),
    closed: _("Not connected"),
  },
  announced: {
    running: _("An answer is being written."),
    waiting: _("A decision is needed."),
    completed: _("The answer is complete."),
    stopped: _("The answer was stopped."),
    failed: _("The answer failed."),
    interrupted: _("The answer was interrupted."),
    lost: _("The connection is lost. Reconnecting."),
    back: _("Connected again."),
    branch: _("Another version is shown."),
  },
});
