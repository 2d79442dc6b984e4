/** Colours for code, over the text as it is: no element is made or changed. Loaded when there is code. */

import { tokenizer } from "../vendor/speed-highlight/tokenize.js";
import { dress } from "./dress.js";

/** Longer code stays plain: it would hold up the page. */
const LONGEST = 50_000;
/** What people write behind a fence, where it is not the name of the file. */
const NAMES = {
  "c#": "java", "c++": "c", cpp: "c", cs: "java", csharp: "java", dockerfile: "docker", golang: "go", h: "c",
  htm: "html", javascript: "js", json5: "json", jsonc: "json", jsx: "js", kotlin: "java", makefile: "make",
  markdown: "md", patch: "diff", perl: "pl", postgresql: "sql", python: "py", python3: "py", rust: "rs", sh: "bash",
  shell: "bash", sqlite: "sql", svg: "xml", tsx: "ts", typescript: "ts", yml: "yaml", zsh: "bash",
};
const LANGUAGES = new Set([
  "asm", "bash", "c", "css", "csv", "diff", "docker", "git", "go", "html", "http", "ini", "java", "js", "jsdoc",
  "json", "lua", "make", "md", "pl", "py", "regex", "rs", "sql", "todo", "toml", "ts", "xml", "yaml",
]);
const loaded = new Map();
/** The ranges of each kind of token that code on the page has. @type {Map<Element, Map<string, Range[]>>} */
const shown = new Map();

/** Colour the code in an element that will not change any more. @param {HTMLElement} node */
export async function highlight(node) {
  if (!globalThis.Highlight) return;
  for (const code of node.querySelectorAll("[data-language] > code")) {
    const name = code.parentElement.dataset.language.toLowerCase();
    const language = NAMES[name] ?? name;
    const text = code.textContent;
    if (!code.isConnected || shown.has(code) || !LANGUAGES.has(language) || text.length > LONGEST) continue;
    dress(code, "highlight.css");
    shown.set(code, new Map());
    await idle();
    if (code.textContent === text) await colour(code, text, language);
  }
  forget();
}

async function colour(code, text, language) {
  const ranges = new Map();
  shown.set(code, ranges);
  let at = 0;
  const onToken = (piece, kind) => {
    if (kind && piece.trim()) {
      const range = document.createRange();
      range.setStart(code.firstChild, at);
      range.setEnd(code.firstChild, at + piece.length);
      ranges.set(kind, [...(ranges.get(kind) ?? []), range]);
    }
    at += piece.length;
  };
  const steps = tokenizer(text, language, onToken);
  let step = steps.next();
  while (!step.done) step = steps.next(await load(step.value));
  // Meanwhile it may have gone.
  if (shown.get(code) !== ranges) return;
  for (const [kind, found] of ranges) {
    const name = `llm-${kind}`;
    if (!CSS.highlights.has(name)) CSS.highlights.set(name, new Highlight());
    for (const range of found) CSS.highlights.get(name).add(range);
  }
}

/** A language that cannot be had leaves its part of the code plain. */
function load(name) {
  if (!LANGUAGES.has(name)) return undefined;
  if (!loaded.has(name)) {
    const grammar = import(`../vendor/speed-highlight/languages/${name}.js`);
    loaded.set(name, grammar.then((module) => module.default, () => undefined));
  }
  return loaded.get(name);
}

/** What is no longer on the page must not be kept by its colours. */
function forget() {
  for (const [code, ranges] of shown) {
    if (code.isConnected) continue;
    shown.delete(code);
    for (const [kind, found] of ranges) for (const range of found) CSS.highlights.get(`llm-${kind}`)?.delete(range);
  }
}

function idle() {
  return new Promise((resolve) => (globalThis.requestIdleCallback ?? setTimeout)(resolve));
}
