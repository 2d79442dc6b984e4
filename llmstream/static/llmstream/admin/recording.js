// Plays a recording with the timing it was stored with, or shows a running generation as it comes.

const root = document.querySelector(".llmstream-recording");
const control = (name) => root.querySelector(`[data-do="${name}"]`);
const show = (name, text) => {
  root.querySelector(`[data-show="${name}"]`).textContent = text;
};

const records = [];
let position = 0; // records that have been played
let playing = false;
let timer = 0;

// One element for each run of deltas of one kind.
function partsAt(count) {
  const parts = [];
  for (const { event } of records.slice(0, count)) {
    if (!event.type.endsWith("-delta")) {
      continue;
    }
    if (parts.at(-1)?.type !== event.type) {
      parts.push({ type: event.type, text: "" });
    }
    parts.at(-1).text += event.delta;
  }
  return parts.map(({ type, text }) => {
    const element = document.createElement("div");
    element.className = `llmstream-text llmstream-${type}`;
    element.textContent = text;
    return element;
  });
}

function draw() {
  const record = records[position - 1];
  const last = records.at(-1);
  control("seek").max = records.length;
  control("seek").value = position;
  control("back").disabled = position === 0;
  control("forward").disabled = position === records.length;
  control("play").textContent = playing ? control("play").dataset.pause : control("play").dataset.play;
  show("time", `${position} / ${records.length}, ${(record?.time ?? 0).toFixed(2)} / ${(last?.time ?? 0).toFixed(2)} s`);
  show("type", record?.event.type ?? "");
  show("id", record?.id ?? "");
  show("event", record ? JSON.stringify(record.event, null, 2) : "");
  root.querySelector('[data-show="text"]').replaceChildren(...partsAt(position));
}

function moveTo(count) {
  position = Math.max(0, Math.min(records.length, count));
  draw();
}

function pause() {
  playing = false;
  clearTimeout(timer);
  draw();
}

// Each event is due at a time counted from where playing began, so that being late once delays nothing.
function play() {
  const speed = Number(control("speed").value);
  if (position === records.length) {
    position = 0;
  }
  playing = true;
  const began = performance.now();
  const from = records[position]?.time ?? 0;
  const step = () => {
    const now = from + ((performance.now() - began) / 1000) * speed;
    while (position < records.length && (speed === 0 || records[position].time <= now)) {
      position += 1;
    }
    draw();
    if (position < records.length) {
      const due = ((records[position].time - now) / speed) * 1000;
      timer = setTimeout(step, Math.min(200, Math.max(30, due)));
    } else {
      pause();
    }
  };
  step();
}

control("play").addEventListener("click", () => (playing ? pause() : play()));
control("back").addEventListener("click", () => (pause(), moveTo(position - 1)));
control("forward").addEventListener("click", () => (pause(), moveTo(position + 1)));
control("seek").addEventListener("input", () => (pause(), moveTo(Number(control("seek").value))));
control("speed").addEventListener("change", () => {
  if (playing) {
    pause();
    play();
  }
});

const TYPES = ["snapshot", "reset", "message-created", "generation-start", "text-delta", "reasoning-delta", "usage", "message-end"];

// The snapshot holds the text so far: it stands in for the events before it.
function eventsOf(event) {
  if (event.type !== "snapshot") {
    return [event];
  }
  records.length = 0;
  const running = event.messages.at(-1);
  const parts = running?.role === "assistant" ? running.parts : [];
  return [event, ...parts.map((part) => ({ type: `${part.type}-delta`, delta: part.text }))];
}

function follow(address) {
  const source = new EventSource(address);
  const began = performance.now();
  const take = (message) => {
    const time = (performance.now() - began) / 1000;
    const atEnd = position === records.length;
    for (const event of eventsOf(JSON.parse(message.data))) {
      records.push({ id: message.lastEventId, time, event });
      if (event.type === "message-end") {
        source.close();
        root.dataset.state = "ended";
      }
    }
    moveTo(atEnd || position > records.length ? records.length : position);
  };
  for (const type of TYPES) {
    source.addEventListener(type, take);
  }
  root.dataset.state = "live";
}

async function load(address) {
  const response = await fetch(address);
  if (!response.ok) {
    throw new Error(`status ${response.status}`);
  }
  const lines = (await response.text()).split("\n").filter(Boolean);
  records.push(...lines.map((line) => JSON.parse(line)));
  root.dataset.state = "ready";
  draw();
}

if (root.dataset.live) {
  follow(root.dataset.live);
} else {
  load(root.dataset.recording).catch(() => {
    root.dataset.state = "failed";
    show("problem", root.querySelector('[data-show="problem"]').dataset.text);
  });
}
