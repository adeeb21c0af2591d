// The report: its markdown, written for files, as elements; figures are those of the code as it was handed out.

const BLOCK = /^(\s*([-*+]|\d+[.)])\s|#|\||>|```|!\[)/;
const PICTURE = /^!\[([^\]]*)\]\(figures\/([\w.-]+\.png)\)$/;

/** The report of a hunt as elements. */
function reportNodes(text, name) {
  const nodes = [];
  let piece = [];
  const flush = () => {
    nodes.push(renderMarkdown(flowing(piece).join("\n")));
    piece = [];
  };
  for (const line of text.split("\n")) {
    const picture = PICTURE.exec(line);
    if (!picture) {
      piece.push(line);
      continue;
    }
    flush();
    const label = picture[1].replaceAll("-", " ");
    nodes.push(figure(`/hunts/${name}/figures/${picture[2]}?reported=true`, `${label}, as it was reported`, label));
  }
  flush();
  return nodes;
}

const figure = (source, alt, label) => make("figure", {}, make("img", { src: source, alt, loading: "lazy" }), make("figcaption", {}, label));

/** Lines of one paragraph as one line, indented code as fenced: as the pages' markdown has them. */
function flowing(lines) {
  const out = [];
  let [fenced, code] = [false, false];
  for (const line of lines) {
    const indented = !fenced && line.startsWith("    ") && (code || !(out.at(-1) ?? "").trim());
    if (indented !== code && (indented || line.trim())) {
      out.push("```");
      code = indented;
    }
    if (line.startsWith("```")) fenced = !fenced;
    const before = out.at(-1) ?? "";
    const goesOn = before.trim() && !/^(#|\||```)/.test(before) && line.trim() && !BLOCK.test(line);
    if (goesOn && !fenced && !code) out.push(`${out.pop()} ${line.trim()}`);
    else out.push(code ? line.slice(4) : line);
  }
  if (code) out.push("```");
  return out;
}
