/** The chat page: one stream of events is what everything on it is drawn from. */

import { StickToEnd } from "../llmstream/chat/scroll.js";
import { ApiError, call, callTwice, randomId } from "./api.js";
import { Composer } from "./composer.js";
import { Sidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { Transcript } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const page = JSON.parse($("page").textContent);
const models = new Map(page.models.map((model) => [model.key, model]));

const CONNECTION = {
  idle: "",
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  "signed-out": "Signed out",
  gone: "Deleted",
};
const BUSY = "An answer is still being written. Stop it or wait for its end.";
const SIGNED_OUT = "You are signed out. Reload the page to sign in again.";
const ENDED = {
  completed: "Answer complete.",
  stopped: "Answer stopped.",
  failed: "The answer failed.",
  interrupted: "The answer was interrupted.",
};

const store = new Store();
const transcript = new Transcript($("messages"), $("message-template"), store, {
  me: page.user.id,
  modelLabel: (key) => models.get(key)?.label ?? key,
  onRetry: retry,
  onDecide: decide,
  onEdit: edit,
  onTurn: turn,
});
const scroll = new StickToEnd($("transcript"), $("messages"), $("to-end"));
const composer = new Composer($("composer"), $("composer-input"), send);
const sidebar = new Sidebar({
  aside: $("sidebar"),
  list: $("conversations"),
  opener: $("sidebar-open"),
  closer: $("sidebar-close"),
  backdrop: $("backdrop"),
  chatUrl: page.urls.chat,
});
let stream = null;
let conversationId = page.conversation;
let sending = false;
let outage;

const conversationUrl = () => `${page.urls.api}conversations/${conversationId}/`;

function announce(text) {
  $("status").textContent = text;
}

function warn(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

function explain(error) {
  if (!(error instanceof ApiError)) throw error;
  const signedOut = error.status === 401 || error.code === "csrf_failed";
  warn(signedOut ? SIGNED_OUT : error.message);
}

function showConnection(state) {
  $("connection").dataset.state = state;
  $("connection-text").textContent = CONNECTION[state];
  // Short breaks need no announcement; a long one has many tries.
  if (state === "reconnecting") outage ??= setTimeout(() => announce("Reconnecting."), 3000);
  else outage = clearTimeout(outage);
  if (state === "signed-out") warn(SIGNED_OUT);
  if (state === "gone") warn("This conversation is not there any more.");
}

/** Why did the server refuse the stream? A state to stay in, or null when trying again may help. */
async function probe() {
  try {
    await call("GET", conversationUrl());
    return null;
  } catch (error) {
    return { 401: "signed-out", 403: "gone", 404: "gone" }[error.status] ?? null;
  }
}

function follow() {
  stream = new Stream(`${conversationUrl()}events/`, {
    lastEventId: () => store.lastEventId,
    onEvent: (event, id) => store.apply(event, id),
    onState: showConnection,
    onProblem: () => showConnection("reconnecting"),
    probe,
  });
  stream.open();
}

async function create(prompt) {
  const state = await call("POST", `${page.urls.api}conversations/`, {
    title: prompt.split("\n")[0].slice(0, 60),
    model: $("model").value,
  });
  conversationId = state.id;
  store.load(state);
  history.replaceState(null, "", `${page.urls.chat}${conversationId}/`);
  composer.useDraft(draftKey());
  sidebar.show(state);
  follow();
}

/** Resolves to whether the prompt was taken. */
async function send(text) {
  if (sending) return false;
  if (store.active) {
    warn(BUSY);
    return false;
  }
  sending = true;
  warn("");
  transcript.showPending(text);
  scroll.pin();
  showState();
  try {
    if (!conversationId) await create(text);
    const prompt = { content: text, client_id: randomId(), model: $("model").value };
    store.merge(await callTwice("POST", `${conversationUrl()}messages/`, prompt));
    sidebar.raise(conversationId);
    return true;
  } catch (error) {
    explain(error);
    // Somebody else was faster: show the answer that runs.
    if (error.status === 409 && error.body.generation) store.merge({ generation: error.body.generation });
    return false;
  } finally {
    sending = false;
    transcript.showPending();
    showState();
    composer.focus();
  }
}

async function command(name, generation, body) {
  warn("");
  composer.focus();
  try {
    return await call("POST", `${page.urls.api}generations/${generation}/${name}/`, body);
  } catch (error) {
    explain(error);
    return {};
  }
}

async function decide(generation, tool, decision) {
  await command(`tool-calls/${tool}`, generation, { decision });
}

/** Ask again in the place of a message of one's own; resolves to whether the prompt was taken. */
async function edit(message, text) {
  warn("");
  try {
    const prompt = { content: text, edits: message, client_id: randomId(), model: $("model").value };
    store.merge(await callTwice("POST", `${conversationUrl()}messages/`, prompt));
    scroll.pin();
    composer.focus();
    return true;
  } catch (error) {
    explain(error);
    return false;
  }
}

/** Show the branch that a message is on; the event that says so comes over the stream. */
async function turn(leaf) {
  warn("");
  try {
    await call("PATCH", conversationUrl(), { leaf });
  } catch (error) {
    explain(error);
  }
}

async function retry(generation) {
  scroll.pin();
  store.merge(await command("retry", generation));
}

function showState() {
  const busy = Boolean(store.active);
  $("send").hidden = busy;
  $("stop").hidden = !busy;
  $("send").disabled = sending;
  $("empty").hidden = Boolean(conversationId && store.messages.size) || sending;
  $("conversation-tools").hidden = !conversationId;
  const title = store.conversation?.title || (conversationId ? "Untitled" : "New chat");
  $("title").textContent = title;
  document.title = `${title} · llmstream demo`;
  $("scripted").hidden = !models.get($("model").value)?.scripted;
}

function draftKey() {
  return `llmstream-draft:${page.user.id}:${conversationId ?? "new"}`;
}

function showRename(open) {
  $("rename").hidden = !open;
  $("title").hidden = open;
  if (!open) return;
  $("rename-input").value = store.conversation.title;
  $("rename-input").focus();
  $("rename-input").select();
}

async function rename() {
  const title = $("rename-input").value.trim();
  showRename(false);
  try {
    await call("PATCH", conversationUrl(), { title });
    store.conversation.title = title;
    sidebar.show(store.conversation);
    showState();
  } catch (error) {
    explain(error);
  }
}

async function remove() {
  if (!confirm("Delete this conversation for good?")) return;
  try {
    await call("DELETE", conversationUrl());
    location.assign(page.urls.chat);
  } catch (error) {
    explain(error);
  }
}

store.addEventListener("change", showState);
store.addEventListener("mismatch", () => stream.open({ fresh: true }));
store.addEventListener("end", (event) => {
  announce(ENDED[event.detail.status]);
  if ($("alert").textContent === BUSY) warn("");
});
$("stop").addEventListener("click", () => store.active && command("stop", store.active.id));
$("model").addEventListener("change", showState);
$("rename-open").addEventListener("click", () => showRename(true));
$("rename").addEventListener("submit", (event) => {
  event.preventDefault();
  rename();
});
$("rename-input").addEventListener("keydown", (event) => event.key === "Escape" && showRename(false));
$("rename-input").addEventListener("blur", () => showRename(false));
$("delete").addEventListener("click", remove);
for (const button of document.querySelectorAll("[data-prompt]")) {
  button.addEventListener("click", () => {
    composer.text = button.dataset.prompt;
    $("composer").requestSubmit();
  });
}

if (page.state) store.load(page.state);
const lastModel = [...store.generations.values()].at(-1)?.model ?? store.conversation?.model;
if (models.has(lastModel)) $("model").value = lastModel;
composer.useDraft(draftKey());
showState();
composer.focus();
if (conversationId) follow();
else showConnection("idle");
