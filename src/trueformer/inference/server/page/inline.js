// What is inside a block of markdown: emphasis, code, links, escapes. Hostile text, as in `markdown.js`: one pass, and a
// bounded number of beginnings that wait for their end; one that finds none stays the text it is.

const MOST_OPEN = 16; // emphasis and brackets waiting for their end
const MARKS = /\\|`+|\*+|_+|!?\[|\]|<(?=https?:|mailto:)|\bhttps?:\/\//g;
const DESTINATION =
  /\(\s{0,3}<?([^\s()<>]{1,2000}(?:\([^\s()<>]{0,500}\)[^\s()<>]{0,500}){0,3})>?(?:\s{1,3}(?:"[^"\n]{0,200}"|'[^'\n]{0,200}'))?\s{0,3}\)/y;
const LETTER = /[\p{L}\p{N}]/u;

/** The nodes of a piece of text. */
function inline(text) {
  const state = { text, out: [], open: [], ticks: runsOfTicks(text) };
  let at = 0;
  for (;;) {
    MARKS.lastIndex = at;
    const found = MARKS.exec(text);
    if (!found) break;
    if (found.index > at) state.out.push(text.slice(at, found.index));
    at = takeMark(state, found[0], found.index);
  }
  state.out.push(text.slice(at));
  return spans(state.out);
}

/** Puts what a mark means into the output; returns where to go on. */
function takeMark(state, mark, at) {
  const after = at + mark.length;
  if (mark[0] === "\\") {
    const escaped = /[!-/:-@[-`{-~]/.test(state.text[after] ?? "");
    state.out.push(escaped ? state.text[after] : mark);
    return after + (escaped ? 1 : 0);
  }
  if (mark[0] === "`") return takeCode(state, mark, at);
  if (mark[0] === "*" || mark[0] === "_") return takeEmphasis(state, mark, at);
  if (mark === "]") return takeLink(state, after);
  if (mark.endsWith("[")) {
    wait(state, "[", mark);
    return after;
  }
  return takeAddress(state, mark, at);
}

/** Strings with their line breaks, and nodes. */
function spans(out) {
  const nodes = [];
  for (const item of out) {
    if (typeof item !== "string") nodes.push(item);
    else item.split("\n").forEach((line, i) => nodes.push(...(i ? [make("br"), line] : [line])));
  }
  return nodes;
}

/** The mark goes out as text, and is remembered as a possible beginning; the oldest beginning is given up. */
function wait(state, mark, text) {
  state.open.push({ mark, text, index: state.out.length });
  state.out.push(text);
  if (state.open.length > MOST_OPEN) state.open.shift();
}

/** Where runs of so many backticks are, found once, so that no run searches the rest of the text for its end. */
function runsOfTicks(text) {
  const runs = new Map();
  for (const found of text.matchAll(/`+/g)) {
    const length = found[0].length;
    if (!runs.has(length)) runs.set(length, { places: [], passed: 0 });
    runs.get(length).places.push(found.index);
  }
  return runs;
}

function takeCode({ text, out, ticks }, mark, at) {
  const after = at + mark.length;
  const runs = ticks.get(mark.length) ?? { places: [], passed: 0 }; // an escape can have cut a run
  while (runs.passed < runs.places.length && runs.places[runs.passed] < after) runs.passed += 1;
  const end = runs.places[runs.passed];
  if (end === undefined) {
    out.push(mark);
    return after;
  }
  const code = text.slice(after, end).replaceAll("\n", " ");
  const padded = code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "";
  out.push(make("code", {}, padded ? code.slice(1, -1) : code));
  return end + mark.length;
}

/** Emphasis begins before a letter and ends after one; `6*7*8` and `snake_case_name` have none. */
function takeEmphasis(state, mark, at) {
  const after = at + mark.length;
  const [left, right] = [state.text[at - 1] ?? " ", state.text[after] ?? " "];
  const within = LETTER.test(left) && LETTER.test(right) && (mark[0] === "_" || mark.length === 1);
  if (mark.length > 3 || within) {
    state.out.push(mark);
    return after;
  }
  const unmatched = /\s/.test(left) ? mark.length : closeEmphasis(state, mark[0], mark.length);
  const rest = mark[0].repeat(unmatched);
  if (rest && !/\s/.test(right)) wait(state, mark[0], rest);
  else if (rest) state.out.push(rest);
  return after;
}

/** Ends what began with the same character, the innermost first; returns how many characters found no beginning. */
function closeEmphasis({ out, open }, character, count) {
  while (count > 0) {
    const place = open.findLastIndex((beginning) => beginning.mark === character);
    if (place < 0) break;
    const beginning = open[place];
    const used = Math.min(2, beginning.text.length, count);
    const inside = out.splice(beginning.index + 1);
    beginning.text = beginning.text.slice(used);
    count -= used;
    open.length = beginning.text ? place + 1 : place;
    if (beginning.text) out[beginning.index] = beginning.text;
    else out.pop();
    out.push(make(used === 2 ? "strong" : "em", {}, spans(inside)));
  }
  return count;
}

/** At a `]`: a link, when it began with `[` and an address in parentheses follows; an image is a link, too. */
function takeLink(state, after) {
  const { text, out, open } = state;
  const place = open.findLastIndex((beginning) => beginning.mark === "[");
  DESTINATION.lastIndex = after;
  const destination = place >= 0 && text[after] === "(" ? DESTINATION.exec(text) : null;
  const address = destination && allowedAddress(destination[1]);
  if (!address) {
    if (place >= 0) open.splice(place, 1);
    out.push("]");
    return after;
  }
  const beginning = open[place];
  const label = spans(out.splice(beginning.index).slice(1));
  state.open = open.slice(0, place).filter(({ mark }) => mark !== "["); // no link within a link
  out.push(link(address, beginning.text === "![" ? ["image: ", ...label] : label));
  return DESTINATION.lastIndex;
}

/** A bare address, or one in angle brackets. */
function takeAddress({ text, out }, mark, at) {
  const start = mark === "<" ? at + 1 : at;
  const [said] = /^[^\s<>"`[\]]*/.exec(text.slice(start, start + 2000));
  // What ends a sentence is no part of a bare address; a parenthesis is, when it was opened in it.
  const ending = said.includes("(") ? /[.,;:!?'*_]{1,9}$/ : /[.,;:!?'*_)]{1,9}$/;
  const bare = mark === "<" ? said : said.replace(ending, "");
  const address = allowedAddress(bare);
  const whole = mark !== "<" || text[start + bare.length] === ">";
  out.push(address && whole ? link(address, [bare]) : mark);
  return address && whole ? start + bare.length + (mark === "<" ? 1 : 0) : at + mark.length;
}

/** The address as the browser reads it, if it is of a kind that a click may follow. */
function allowedAddress(said) {
  try {
    const address = new URL(said);
    return ["http:", "https:", "mailto:"].includes(address.protocol) ? address : null;
  } catch {
    return null;
  }
}

/** A link that says where it leads: unless its label is the address, the host follows it. */
function link(address, label) {
  const attributes = { href: address.href, title: address.href, target: "_blank", rel: "noopener noreferrer" };
  const text = make("span", {}, label);
  for (const inner of text.querySelectorAll("a")) inner.replaceWith(inner.textContent);
  const said = text.textContent;
  if ([address.href, address.href.replace(/\/$/, "")].includes(said)) return make("a", attributes, said);
  const where = address.protocol === "mailto:" ? address.pathname : address.host;
  return make("a", attributes, text, make("span", { class: "address" }, ` (${where})`));
}
