// Python in colours: a line at a time, with the quotes that the lines before have left open.

const words = (text) => new Set(text.split(" "));
const KEYWORDS = words("and as assert async await break class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield");
const CONSTANTS = words("True False None self cls NotImplemented");
const BUILTINS = words("abs all any bool bytes callable dict enumerate filter float frozenset getattr hasattr int isinstance iter len list map max min next object open print property range repr reversed round set sorted staticmethod str sum super tuple type zip ValueError TypeError RuntimeError");
const PYTHON = /(?<comment>#.*)|(?<string>\b[rbfuRBFU]{0,2}(?:"""|'''|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)|(?:"""|'''|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?))|(?<number>\b(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*\.?[\d_]*(?:[eE][+-]?\d+)?)|(?<![\w)\]])\.\d+)|(?<decorator>@[\w.]+)|(?<word>[A-Za-z_]\w*)/g;

/** The pieces of a line as [class or null, text], and what is open after it: "", or the quotes of a long string. */
function colourLine(line, open) {
  const pieces = [];
  let [at, before] = [0, ""];
  if (open) {
    at = endOfString(line, 0, open);
    pieces.push(["string", line.slice(0, at)]);
    if (!line.slice(0, at).endsWith(open)) return { pieces, open };
  }
  for (;;) {
    PYTHON.lastIndex = at;
    const found = PYTHON.exec(line);
    if (!found) break;
    if (found.index > at) pieces.push([null, line.slice(at, found.index)]);
    at = found.index + found[0].length;
    const quotes = found.groups.string?.match(/"""$|'''$/)?.[0];
    if (quotes) {
      const end = endOfString(line, at, quotes);
      pieces.push(["string", line.slice(found.index, end)]);
      if (!line.slice(at, end).endsWith(quotes)) return { pieces, open: quotes };
      at = end;
    } else {
      pieces.push([kindOf(found.groups, before, line.slice(0, found.index)), found[0]]);
      before = found[0];
    }
  }
  pieces.push([null, line.slice(at)]);
  return { pieces, open: "" };
}

/** Where a long string ends in a line, its quotes included. */
function endOfString(line, from, quotes) {
  for (let at = from; at < line.length; at += 1) {
    if (line[at] === "\\") at += 1;
    else if (line.startsWith(quotes, at)) return at + quotes.length;
  }
  return line.length;
}

function kindOf(groups, before, left) {
  const { comment, string, number, decorator, word } = groups;
  if (comment !== undefined) return "comment";
  if (string !== undefined) return "string";
  if (number !== undefined) return "number";
  if (decorator !== undefined) return left.trim() ? null : "decorator";
  if (before === "def" || before === "class") return "defined";
  if (left.endsWith(".")) return null;
  if (KEYWORDS.has(word)) return "keyword";
  return CONSTANTS.has(word) ? "constant" : BUILTINS.has(word) ? "builtin" : null;
}
