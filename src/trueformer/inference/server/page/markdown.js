// Markdown to elements: paragraphs, headings, lists, quotes, tables, rules, fenced code; emphasis, code, links.
//
// The text is hostile: every step is linear in its length, nesting is bounded, elements come from `make` with strings
// as text, links go to http, https and mailto only and show where, and no image is loaded: it becomes a link.
// A line break in a paragraph is kept. Leaves out HTML, footnotes, indented code and references.

const MOST_MARKDOWN = 200_000; // what is beyond is shown as it is
const DEEPEST = 4; // quotes and lists within each other

/** Text as a fragment of elements. */
function renderMarkdown(text) {
  const fragment = document.createDocumentFragment();
  const lines = text.slice(0, MOST_MARKDOWN).replace(/\r\n?/g, "\n").split("\n");
  for (const block of blocks(lines, 0)) fragment.append(block);
  if (text.length > MOST_MARKDOWN) fragment.append(make("p", {}, text.slice(MOST_MARKDOWN)));
  return fragment;
}

function blocks(lines, depth) {
  const nodes = [];
  for (let at = 0; at < lines.length; ) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const found = special(lines, at, depth) ?? paragraph(lines, at, depth);
    nodes.push(found.node);
    at = found.next;
  }
  return nodes;
}

/** The block that begins at a line, with the line after it; null where a paragraph does. */
function special(lines, at, depth) {
  const flat = fence(lines, at) ?? heading(lines, at) ?? rule(lines, at) ?? table(lines, at);
  return flat ?? (depth < DEEPEST ? (quote(lines, at, depth) ?? list(lines, at, depth)) : null);
}

const FENCE = /^( {0,3})(`{3,}|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?: {1,4}|\t|$)/;

/** Whether a line ends the paragraph before it; of numbered lists only one that begins with 1 does. */
function interrupts(lines, at, depth) {
  const line = lines[at];
  if (!line.trim() || FENCE.test(line) || HEADING.test(line) || isRule(line) || startsTable(lines, at)) return true;
  const item = ITEM.exec(line);
  return depth < DEEPEST && (QUOTE.test(line) || (item !== null && (!/\d/.test(item[2]) || parseInt(item[2]) === 1)));
}

function paragraph(lines, at, depth) {
  let next = at + 1;
  while (next < lines.length && !interrupts(lines, next, depth)) next += 1;
  const said = lines.slice(at, next).map((line) => line.trim());
  return { node: make("p", {}, inline(said.join("\n"))), next };
}

/** Fenced code; a fence that is not closed holds all that follows, as happens while a reply is being written. */
function fence(lines, at) {
  const open = FENCE.exec(lines[at]);
  if (!open || (open[2][0] === "`" && open[3].includes("`"))) return null;
  const closes = (line) => line.length >= open[2].length && line === open[2][0].repeat(line.length);
  let next = at + 1;
  while (next < lines.length && !closes(lines[next].trim())) next += 1;
  const code = lines.slice(at + 1, next).map((line) => undent(line, open[1].length));
  const language = open[3].trim().split(/\s/, 1)[0].slice(0, 30);
  const head = make("div", { class: "code-head" }, make("span", {}, language), iconButton("copy", "Copy the code", "copy-code"));
  const body = make("pre", { tabindex: "0" }, make("code", {}, code.join("\n")));
  return { node: make("div", { class: "code" }, head, body), next: next + 1 };
}

function heading(lines, at) {
  const found = HEADING.exec(lines[at]);
  if (!found) return null;
  // The page's own headings are the first two levels.
  const level = Math.min(found[1].length + 2, 6);
  return { node: make(`h${level}`, {}, inline((found[2] ?? "").trim())), next: at + 1 };
}

function isRule(line) {
  const marks = line.replace(/[ \t]/g, "");
  return marks.length >= 3 && "-*_".includes(marks[0]) && marks === marks[0].repeat(marks.length);
}

const rule = (lines, at) => (isRule(lines[at]) ? { node: make("hr"), next: at + 1 } : null);

function startsTable(lines, at) {
  const under = lines[at + 1];
  if (under === undefined || !lines[at].includes("|") || !under.includes("|")) return false;
  return under.includes("-") && /^[\s|:-]+$/.test(under) && cells(under).length === cells(lines[at]).length;
}

function cells(line) {
  return line.trim().replace(/^\|/, "").replace(/\|$/, "").split(/(?<!\\)\|/, 50);
}

/** A table; its cells are those that the lines have, so that a line makes no more elements than it has bars. */
function table(lines, at) {
  if (!startsTable(lines, at)) return null;
  const sides = cells(lines[at + 1]).map((cell) => (cell.trim().endsWith(":") ? "right" : null));
  const row = (line, tag) =>
    make("tr", {}, cells(line).slice(0, sides.length).map((cell, i) =>
      make(tag, { class: sides[i] }, inline(cell.trim().replaceAll("\\|", "|")))));
  const body = [];
  let next = at + 2;
  for (; next < lines.length && lines[next].includes("|"); next += 1) body.push(row(lines[next], "td"));
  const whole = make("table", {}, make("thead", {}, row(lines[at], "th")), make("tbody", {}, body));
  return { node: make("div", { class: "table", tabindex: "0" }, whole), next };
}

function quote(lines, at, depth) {
  const inner = [];
  let next = at;
  for (; next < lines.length && QUOTE.test(lines[next]); next += 1) inner.push(lines[next].replace(QUOTE, ""));
  return inner.length ? { node: make("blockquote", {}, blocks(inner, depth + 1)), next } : null;
}

function list(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  if (!first) return null;
  const [base, kind] = [first[1].length, first[2].at(-1)];
  const ordered = /\d/.test(first[2]);
  const items = [];
  let next = at;
  while (next < lines.length) {
    const mark = ITEM.exec(lines[next]);
    if (!mark || mark[2].at(-1) !== kind || isRule(lines[next])) break;
    const inner = [lines[next].slice(mark[0].length)];
    for (next += 1; next < lines.length && belongs(lines, next, base + 2); next += 1) {
      inner.push(undent(lines[next], mark[0].length));
    }
    items.push(listItem(inner, depth));
    if (next + 1 < lines.length && !lines[next].trim() && ITEM.test(lines[next + 1])) next += 1;
  }
  const start = ordered && parseInt(first[2]) !== 1 ? parseInt(first[2]) : null;
  return { node: make(ordered ? "ol" : "ul", { start }, items), next };
}

/** A line, or a single empty line before one, that is indented enough to belong to the item above it. */
function belongs(lines, at, indent) {
  const line = lines[at].trim() ? lines[at] : (lines[at + 1] ?? "");
  return line.trim() !== "" && line.startsWith(" ".repeat(indent));
}

function listItem(inner, depth) {
  const nodes = blocks(inner, depth + 1);
  const first = nodes[0]?.tagName === "P" ? [...nodes.shift().childNodes] : [];
  return make("li", {}, first, nodes);
}

/** A line without up to `most` of its first spaces. */
function undent(line, most) {
  let spaces = 0;
  while (spaces < most && line[spaces] === " ") spaces += 1;
  return line.slice(spaces);
}
