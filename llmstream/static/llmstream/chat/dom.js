/** Elements by description. Nothing here parses HTML. */

import { WORDS } from "./words.js";

/**
 * Make an element. `attributes` that are null, undefined or false are left out; true makes an empty one.
 * @param {string} name @param {Record<string, any>} [attributes] @param {(Node | string)[]} children
 */
export function h(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** A button that submits nothing. @param {() => void} [onClick] */
export function button(label, attributes, onClick) {
  const node = h("button", { type: "button", ...attributes }, label);
  if (onClick) node.addEventListener("click", onClick);
  return node;
}

/** Set an element's text, if it has another one: what has not changed keeps a reader's selection. */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Hide or show an element, if it is otherwise: each setting of an attribute costs a look at the styles. */
export function hide(node, isHidden) {
  if (node.hidden !== isHidden) node.hidden = isHidden;
}

const COPIED_MS = 1_500;

/** A button that copies what `text` returns. Absent where the page may not write to the clipboard. */
export function copyButton(text) {
  const node = button(WORDS.copy, { class: "llm-button llm-copy", part: "button copy" }, async () => {
    try {
      await navigator.clipboard.writeText(text());
      node.textContent = WORDS.copied;
    } catch {
      node.textContent = WORDS.notCopied;
    }
    setTimeout(() => (node.textContent = WORDS.copy), COPIED_MS);
  });
  node.hidden = !navigator.clipboard;
  return node;
}
