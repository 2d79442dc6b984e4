/**
 * A model's text as DOM nodes: paragraphs, headings, fenced code, `code` and **bold**. Only text nodes and fixed
 * elements are made, so nothing in the text can become markup.
 */

const FENCE = /^\s{0,3}(```+|~~~+)\s*([\w+#.-]*)\s*$/;
const HEADING = /^\s{0,3}#{1,6}\s+(.+?)\s*#*$/;
// A heading whose text has not come yet counts as an empty line.
const EMPTY = /^\s*(#{1,6}\s*)?$/;
const INLINE = /(`[^`\n]+`|\*\*[^*\n]+\*\*)/;

function parse(text) {
  const blocks = [];
  let open = null;
  const close = () => {
    if (open) blocks.push({ ...open, text: open.lines.join("\n") });
    open = null;
  };
  for (const line of text.split("\n")) {
    const fence = FENCE.exec(line);
    if (open?.kind === "code") {
      if (fence && !fence[2] && fence[1].startsWith(open.fence)) close();
      else open.lines.push(line);
    } else if (fence) {
      close();
      open = { kind: "code", fence: fence[1], language: fence[2], lines: [] };
    } else if (EMPTY.test(line)) {
      close();
    } else if (HEADING.test(line)) {
      close();
      blocks.push({ kind: "heading", text: HEADING.exec(line)[1] });
    } else {
      open ??= { kind: "paragraph", lines: [] };
      open.lines.push(line);
    }
  }
  close();
  return blocks;
}

function element(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function inline(text) {
  return text.split(INLINE).filter(Boolean).map((piece) => {
    if (/^`[^`\n]+`$/.test(piece)) return element("code", "", piece.slice(1, -1));
    if (/^\*\*[^*\n]+\*\*$/.test(piece)) return element("strong", "", piece.slice(2, -2));
    return piece;
  });
}

function build(block) {
  if (block.kind === "code") {
    const pre = element("pre", "", element("code", "", block.text));
    pre.dir = "ltr";
    pre.tabIndex = 0;
    return element("div", "code", ...(block.language ? [element("span", "language", block.language)] : []), pre);
  }
  const node = element(block.kind === "heading" ? "h3" : "p", "", ...inline(block.text));
  node.dir = "auto";
  return node;
}

/** Bring `container` to show `text`; blocks that did not change keep their nodes, and with them a reader's selection. */
export function showText(container, text) {
  if (container.shownText === text) return;
  const blocks = parse(text);
  const before = container.shownBlocks ?? [];
  blocks.forEach((block, index) => {
    const old = before[index];
    const node = container.childNodes[index];
    if (!old) return container.append(build(block));
    if (old.kind === block.kind && old.language === block.language) {
      if (old.text === block.text) return;
      if (block.kind === "code" && old.text && block.text.startsWith(old.text)) {
        return node.querySelector("code").firstChild.appendData(block.text.slice(old.text.length));
      }
    }
    node.replaceWith(build(block));
  });
  while (container.childNodes.length > blocks.length) container.lastChild.remove();
  container.shownText = text;
  container.shownBlocks = blocks;
}
