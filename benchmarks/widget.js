/** What the benchmark of the widget runs on its page: the same text, a piece a frame, shown in several ways. */

const PIECE = 64;
const frame = () => new Promise(requestAnimationFrame);

/** The server's side of one socket. */
class Socket extends EventTarget {
  static OPEN = 1;
  readyState = 1;

  constructor() {
    super();
    Socket.last = this;
    queueMicrotask(() => this.dispatchEvent(new Event("open")));
  }

  send(text) {
    const { type, ref, room } = JSON.parse(text);
    if (type === "ping") this.say({ type: "pong" });
    if (type === "join") this.say({ type: "joined", ref, room, role: "owner" });
  }

  say(told) {
    const data = JSON.stringify(told);
    setTimeout(() => this.dispatchEvent(new MessageEvent("message", { data })));
  }

  event(seq, event) {
    this.say({ type: "event", room: "c", id: `c.1.${String(seq).padStart(12, "0")}`, event });
  }

  close() {}
}

function message(id, role, parent, text) {
  const parts = text ? [{ type: "text", text }] : [];
  const common = { id, role, parent, parts, author: null, created_at: "2026-01-01T00:00:00Z" };
  return { ...common, status: text ? "completed" : "running", generation: text ? null : "g" };
}

/** Milliseconds in which a way made its nodes, a frame each; what the browser then does with them is not in it. */
let rendering = [];

function timed(render) {
  const begin = performance.now();
  render();
  rendering.push(performance.now() - begin);
}

/** Each way gets the whole text so far, once a frame. */
const WAYS = {
  async widget(stage) {
    globalThis.WebSocket = /** @type {any} */ (Socket);
    await import("/static/llmstream/chat.js");
    const chat = document.createElement("llm-chat");
    for (const [name, value] of Object.entries({ conversation: "c", share: "off", api: "/none/" })) {
      chat.setAttribute(name, value);
    }
    const state = { id: "c", title: "", model: "", messages: [], generations: [], leaf: null, last_event_id: "c.1.000000000000" };
    const carried = document.createElement("script");
    carried.type = "application/json";
    carried.textContent = JSON.stringify(state);
    chat.append(carried);
    stage.append(chat);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const socket = Socket.last;
    let seq = 0;
    socket.event(++seq, { type: "message-created", message: message("q", "user", null, "Tell me.") });
    socket.event(++seq, { type: "message-created", message: message("a", "assistant", "q", ""), generation: "g" });
    socket.event(++seq, { type: "generation-start", generation: "g", message: "a", model: "m", attempt: 1 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    const about = { message: "a", generation: "g" };
    return {
      show: (text, piece) => socket.event(++seq, { type: "text-delta", ...about, part: 0, delta: piece }),
      end: (text) => {
        const said = { status: "completed", finish_reason: "stop", text_length: [...text].length };
        socket.event(++seq, { type: "message-end", ...about, ...said });
      },
    };
  },

  async renderer(stage) {
    const { Markdown } = await import("/static/llmstream/chat/markdown.js");
    const body = box(stage);
    const markdown = new Markdown(body);
    return {
      show(text) {
        timed(() => markdown.show(text, false));
        body.parentElement.scrollTop = body.parentElement.scrollHeight;
      },
      end: (text) => timed(() => markdown.show(text, true)),
    };
  },

  async usual(stage) {
    const { marked } = await import("/static/llmstream/vendor/marked.esm.js");
    const body = box(stage);
    return {
      show(text) {
        timed(() => (body.innerHTML = DOMPurify.sanitize(marked.parse(text))));
        body.parentElement.scrollTop = body.parentElement.scrollHeight;
      },
      end() {},
    };
  },

  async text(stage) {
    const body = box(stage);
    const shown = body.appendChild(document.createTextNode(""));
    return {
      show(text, piece) {
        timed(() => shown.appendData(piece));
        body.parentElement.scrollTop = body.parentElement.scrollHeight;
      },
      end() {},
    };
  },

  async nothing() {
    return { show() {}, end() {} };
  },
};

function box(stage) {
  const body = document.createElement("div");
  body.className = "llm-transcript llm-text";
  stage.className = "box";
  stage.append(body);
  return body;
}

let way, whole;

globalThis.prepare = async (name, text) => {
  whole = text;
  way = await WAYS[name](document.querySelector("main"));
  await new Promise((resolve) => setTimeout(resolve, 300));
};

globalThis.play = async () => {
  rendering = [];
  performance.mark("bench-begin");
  for (let at = 0; at < whole.length; at += PIECE) {
    await frame();
    way.show(whole.slice(0, at + PIECE), whole.slice(at, at + PIECE));
  }
  await frame();
  way.end(whole);
  await new Promise((resolve) => setTimeout(resolve, 500));
  performance.mark("bench-end");
  return rendering;
};
