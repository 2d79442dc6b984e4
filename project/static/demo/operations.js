/** What runs on the site: the state that the page came with, and what the notifications say since. */

const SHOWN = 20;
const ENDED = { completed: "finished", stopped: "finished", failed: "failed", interrupted: "failed" };
/** What tells the state of a generation. */
const TYPES = [
  ...["message-created", "generation-started", "generation-recovered", "approval-wanted", "approval-decided"],
  ...["generation-finished", "generation-failed"],
];

const page = JSON.parse(document.getElementById("page").textContent);
const connection = document.getElementById("connection");
const body = document.getElementById("answers");
/** Generations that have not ended, by id. */
const active = new Map(Object.entries(page.active));
const ended = { finished: 0, failed: 0 };
/** Newest first. */
let newest = page.newest;
const over = new Set(newest.filter(({ status }) => status in ENDED).map(({ generation }) => generation));

for (const [status, figure] of Object.entries(ENDED)) ended[figure] += page.counts[status];

function take(type, told) {
  const { generation, status } = told;
  const known = newest.find((answer) => answer.generation === generation);
  if (!generation || (type === "message-created" && (known || active.has(generation)))) return;
  // One that has ended stays so: a notification may come twice.
  if (over.has(generation)) return;
  if (status in ENDED) {
    over.add(generation);
    active.delete(generation);
    ended[ENDED[status]]++;
  } else {
    active.set(generation, status);
  }
  if (known) Object.assign(known, { status, at: told.at, error: told.error });
  else newest = [told, ...newest].slice(0, SHOWN);
  show();
}

function show() {
  const count = (wanted) => [...active.values()].filter((status) => status === wanted).length;
  const figures = { running: count("running"), queued: count("queued"), waiting: count("waiting"), ...ended };
  for (const [name, value] of Object.entries(figures)) {
    const figure = document.querySelector(`[data-figure=${name}]`);
    figure.querySelector("dd").textContent = value;
    figure.classList.toggle("some", value > 0);
  }
  body.replaceChildren(...newest.map(row));
}

function row({ status, error, model, generation, at }) {
  const line = document.createElement("tr");
  const cells = [error ? `${status}: ${error}` : status, model, generation.slice(0, 8), new Date(at).toLocaleTimeString()];
  for (const text of cells) line.insertCell().textContent = text;
  line.cells[0].dataset.status = status;
  return line;
}

function connected(state, text) {
  connection.dataset.state = state;
  connection.textContent = text;
}

show();
const source = new EventSource(page.url);
source.addEventListener("stream-open", () => connected("live", "live"));
source.addEventListener("stream-reset", () => location.reload());
source.addEventListener("stream-error", () => {
  source.close();
  connected("closed", "not permitted");
});
source.addEventListener("error", () => connected("away", "connecting again"));
for (const type of TYPES) source.addEventListener(type, ({ data }) => take(type, JSON.parse(data)));
