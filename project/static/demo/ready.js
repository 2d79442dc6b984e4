/** The badge for replies that became ready while another page was on show, for every page of the site. */

const meta = document.querySelector("meta[name=notifications]");
const badge = document.getElementById("ready");
const KEY = `demo-ready-${meta.dataset.user}`;
/** Notifications and what they ask of somebody who is elsewhere. */
const TELLING = { "generation-finished": "ready", "generation-failed": "failed", "approval-wanted": "wanted" };
const OVER = ["message-created", "generation-started", "approval-decided"];

/** What the browser remembers: how far it has heard, and the conversations that have news. */
function remembered() {
  return JSON.parse(localStorage.getItem(KEY) ?? "null") ?? { last: "", news: {} };
}

function remember(change) {
  const state = remembered();
  change(state);
  localStorage.setItem(KEY, JSON.stringify(state));
  show();
}

/** The conversation on show, if any. */
function here() {
  return /\/([A-Za-z0-9]{22})\/$/.exec(location.pathname)?.[1];
}

function take(kind, { data, lastEventId }) {
  const { conversation } = JSON.parse(data);
  remember((state) => {
    state.last = lastEventId || state.last;
    if (kind && conversation !== here()) state.news[conversation] = kind;
    else delete state.news[conversation];
  });
}

function show() {
  if (!badge) return;
  const news = Object.entries(remembered().news);
  const wanted = news.filter(([, kind]) => kind === "wanted");
  const failed = news.every(([, kind]) => kind === "failed");
  badge.hidden = news.length === 0;
  if (badge.hidden) return;
  if (wanted.length > 0) badge.textContent = "A decision is wanted";
  else if (news.length > 1) badge.textContent = `${news.length} replies are ready`;
  else badge.textContent = failed ? "A reply has failed" : "A reply is ready";
  badge.href = `${meta.dataset.chat}${(wanted.at(-1) ?? news.at(-1))[0]}/`;
}

remember((state) => {
  state.last ||= meta.dataset.last;
  delete state.news[here()];
});
addEventListener("storage", ({ key }) => key === KEY && show());

const source = new EventSource(`${meta.content}?${new URLSearchParams({ lastEventId: remembered().last })}`);
for (const [type, kind] of Object.entries(TELLING)) source.addEventListener(type, (event) => take(kind, event));
for (const type of OVER) source.addEventListener(type, (event) => take("", event));
source.addEventListener("stream-reset", ({ lastEventId }) => {
  remember((state) => Object.assign(state, { last: lastEventId, news: {} }));
});
source.addEventListener("stream-error", () => source.close());
