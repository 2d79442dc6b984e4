/** Character references, as in `&copy;` and `&#169;`. The browser's own parser is out of reach: it makes HTML. */

const NAMED = new Map(
  Object.entries({
    amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", ensp: "\u2002", emsp: "\u2003", thinsp: "\u2009",
    zwj: "\u200d", zwnj: "\u200c", lrm: "\u200e", rlm: "\u200f", shy: "\u00ad", copy: "©", reg: "®", trade: "™",
    hellip: "…", mdash: "—", ndash: "–", lsquo: "‘", rsquo: "’", sbquo: "‚", ldquo: "“", rdquo: "”", bdquo: "„",
    laquo: "«", raquo: "»", bull: "•", middot: "·", sect: "§", para: "¶", deg: "°", micro: "µ", plusmn: "±",
    times: "×", divide: "÷", minus: "−", le: "≤", ge: "≥", ne: "≠", asymp: "≈", infin: "∞", radic: "√", sum: "∑",
    prod: "∏", int: "∫", part: "∂", nabla: "∇", isin: "∈", cap: "∩", cup: "∪", larr: "←", uarr: "↑", rarr: "→",
    darr: "↓", harr: "↔", lArr: "⇐", rArr: "⇒", hArr: "⇔", euro: "€", pound: "£", yen: "¥", cent: "¢", frac12: "½",
    frac14: "¼", frac34: "¾", sup1: "¹", sup2: "²", sup3: "³", alpha: "α", beta: "β", gamma: "γ", delta: "δ",
    epsilon: "ε", theta: "θ", lambda: "λ", mu: "μ", pi: "π", sigma: "σ", phi: "φ", omega: "ω", Delta: "Δ",
    Sigma: "Σ", Omega: "Ω", check: "✓", cross: "✗", star: "☆", hearts: "♥",
  }),
);
const REFERENCE = /&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z][a-z\d]*));/gi;

/** The text with its character references replaced; unknown ones stay as they are. @param {string} text */
export function decode(text) {
  if (!text.includes("&")) return text;
  return text.replace(REFERENCE, (whole, decimal, hex, name) => {
    if (name) return NAMED.get(name) ?? whole;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    const isCharacter = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
    return isCharacter ? String.fromCodePoint(code) : "\ufffd";
  });
}
