/** The end of a text that is being written: what has begun is shown as what it will be, half a marker not at all. */

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
/** A line that is nothing but the beginning of a heading, list, quote, table, rule or fence. */
const BEGINNING = /(^|\n) {0,3}(?:[-=]+|[*+>|]|#{1,6}|\d{1,9}[.)]?|`{1,2}|~{1,2})[ \t]*$/;
const DEEPEST = 8;
/** A link whose address is being written. */
const LINK = /!?\[([^\]\n]{0,500})\]\([^)\n]{0,2000}$/;

/** The source with what is open at its end closed. @param {string} source */
export function closed(source) {
  if (inFence(source)) return source;
  const text = source.replace(BEGINNING, "$1");
  const start = text.lastIndexOf("\n\n") + 1;
  return text.slice(0, start) + closeInline(text.slice(start).replace(LINK, "$1"));
}

function inFence(source) {
  let open = "";
  for (const line of source.split("\n")) {
    const mark = FENCE.exec(line)?.[1];
    if (!mark) continue;
    if (!open) open = mark;
    else if (mark[0] === open[0] && mark.length >= open.length) open = "";
  }
  return open !== "";
}

function closeInline(text) {
  /** @type {{mark: string, at: number}[]} */
  const open = [];
  for (const { 0: mark, index } of text.matchAll(/\\.|`+|\*+|_+|~~/gs)) {
    if (mark[0] === "\\") continue;
    const inner = open.at(-1);
    const code = inner?.mark[0] === "`";
    const isHalf = inner && inner.mark !== mark && inner.mark.startsWith(mark) && index + mark.length === text.length;
    if (isHalf) text = text.slice(0, index);
    else if (inner?.mark === mark && !/\s/.test(text[index - 1])) open.pop();
    else if (!code && opens(text, mark, index)) open.push({ mark, at: index });
  }
  // Nobody nests as deeply as that: these are no marks.
  if (open.length > DEEPEST) return text;
  for (const { mark, at } of open.reverse()) {
    const body = text.slice(at + mark.length);
    // White space before a mark would keep it from closing.
    if (body.trim()) text = text.trimEnd() + mark;
    else text = text.slice(0, at);
  }
  return text;
}

/** Whether a mark begins something: it stands before a word or at the very end, and not inside a word. */
function opens(text, mark, index) {
  const before = text[index - 1] ?? " ";
  const after = text[index + mark.length] ?? "";
  if (mark[0] === "`") return true;
  if (/\s/.test(after)) return false;
  if (!after) return /[\s\p{P}]/u.test(before);
  return mark[0] === "*" || mark[0] === "~" || !/[\p{L}\p{N}]/u.test(before);
}
