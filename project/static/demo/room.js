/** A room: several people and a model in one conversation, over one client of llmstream. */

import { StickToEnd } from "../llmstream/chat/scroll.js";
import { Conversation, LLMStream } from "../llmstream/client.js";
import { call } from "./api.js";
import { Composer } from "./composer.js";
import { People } from "./people.js";
import { PromptQueue } from "./queue.js";
import { Transcript } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const page = JSON.parse($("page").textContent);
const models = new Map(page.models.map((model) => [model.key, model]));

const CONNECTION = {
  connecting: ["connecting", "Connecting"],
  open: ["live", "Live"],
  waiting: ["reconnecting", "Reconnecting"],
  offline: ["reconnecting", "Offline"],
  closed: ["gone", "Closed"],
};
const CLOSED = {
  not_authenticated: "You are signed out. Reload the page to sign in again.",
  not_found: "This room is not there any more, or no longer yours.",
};
const ENDED = {
  completed: "Answer complete.",
  stopped: "Answer stopped.",
  failed: "The answer failed.",
  interrupted: "The answer was interrupted.",
};

const client = new LLMStream({ api: page.urls.api, user: page.user.id });
const room = client.room(page.conversation, { lastEventId: page.state.last_event_id });
const conversation = new Conversation(room, page.state);

/** What the transcript shows: the branch without the prompts that wait, which have a list of their own. */
class View extends EventTarget {
  get messages() {
    return conversation.messages;
  }

  get generations() {
    return conversation.generations;
  }

  get active() {
    return conversation.active[0];
  }

  get branch() {
    const waiting = new Set(conversation.active.slice(1).map(({ message }) => message));
    const first = conversation.branch.findIndex(({ id }) => waiting.has(id));
    // A prompt stands right before its answer.
    return first < 0 ? conversation.branch : conversation.branch.slice(0, Math.max(0, first - 1));
  }
}

const view = new View();
const transcript = new Transcript($("messages"), $("message-template"), view, {
  me: page.user.id,
  modelLabel: (key) => models.get(key)?.label ?? key,
  onRetry: (generation) => command(room.retry(generation)),
  onDecide: (generation, tool, decision) => command(room[decision](generation, tool)),
});
const scroll = new StickToEnd($("transcript"), $("messages"), $("to-end"));
const composer = new Composer($("composer"), $("composer-input"), send);
const queue = new PromptQueue($("queue"), $("queue-items"), (generation) => command(room.stop(generation)));
const people = new People($("people"), page.people, page.user);
const pending = [];
let opened = false;

function warn(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

async function command(promise) {
  warn("");
  try {
    return await promise;
  } catch (error) {
    warn(error.message);
    return null;
  }
}

/** Resolves to whether the prompt was taken; until the connection is back if need be. */
async function send(text) {
  pending.push(text);
  transcript.showPending(...pending);
  scroll.pin();
  showState();
  const sent = await command(room.send(text, { model: $("model").value, busy: "queue" }));
  pending.splice(pending.indexOf(text), 1);
  transcript.showPending(...pending);
  showState();
  composer.focus();
  return Boolean(sent);
}

function showState() {
  const [current, ...waiting] = conversation.active;
  $("stop").hidden = !current;
  $("empty").hidden = conversation.messages.size > 0 || pending.length > 0;
  $("scripted").hidden = !models.get($("model").value)?.scripted;
  queue.show(waiting, conversation.messages, page.user.id);
  view.dispatchEvent(new Event("change"));
}

function showConnection() {
  const { status, reason, retryAt } = room.state;
  opened ||= status === "open";
  const [state, text] = CONNECTION[status === "connecting" && opened ? "waiting" : status];
  const seconds = retryAt ? Math.max(0, Math.round((retryAt - Date.now()) / 1000)) : 0;
  $("connection").dataset.state = state;
  $("connection").title = client.transport === "sse" ? "Over Server-Sent Events" : "Over a WebSocket";
  $("connection-text").textContent = seconds ? `${text} in ${seconds} s` : text;
  $("connect").hidden = status !== "waiting" && status !== "offline";
  people.setLive(status === "open" && client.transport === "websocket");
  if (reason) warn(CLOSED[reason.code] ?? reason.message ?? "The room is closed.");
  const closed = status === "closed" || room.role === "reader";
  $("composer-input").disabled = closed;
  $("composer-input").placeholder = room.role === "reader" ? "You may read along" : "Write to everybody";
}

function showTyping() {
  const names = room.typists.filter(({ id }) => id !== page.user.id).map(({ name }) => name);
  const verb = names.length === 1 ? "is" : "are";
  $("typing").textContent = names.length ? `${names.join(", ")} ${verb} typing…` : "";
}

async function invite(button, user) {
  button.disabled = true;
  const added = await command(call("POST", `${page.urls.api}conversations/${page.conversation}/members/`, { user }));
  if (!added) return void (button.disabled = false);
  people.add(added.user);
  button.remove();
}

conversation.on("change", showState);
room.on("message-end", ({ data }) => ($("status").textContent = ENDED[data.status]));
room.on("presence", () => people.show(room.members));
room.on("typing", showTyping);
room.on("state", showConnection);
room.on("joined", showConnection);
// The seconds until the next try.
setInterval(() => room.state.status === "waiting" && showConnection(), 1000);
$("stop").addEventListener("click", () => view.active && command(room.stop(view.active.id)));
$("connect").addEventListener("click", () => client.connect());
$("model").addEventListener("change", showState);
$("composer-input").addEventListener("input", () => room.typing(composer.text !== ""));
for (const name of page.others) {
  const button = document.createElement("button");
  button.className = "text-button";
  button.textContent = `Invite ${name}`;
  button.addEventListener("click", () => invite(button, name));
  $("invitations").append(button);
}

$("title").textContent = page.state.title || "Untitled";
document.title = `${$("title").textContent} · llmstream demo`;
const lastModel = [...conversation.generations.values()].at(-1)?.model;
if (models.has(lastModel)) $("model").value = lastModel;
composer.useDraft(`llmstream-draft:${page.user.id}:${page.conversation}`);
people.show([]);
showState();
showConnection();
composer.focus();
