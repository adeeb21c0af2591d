// An editor: a text box over the same text in colours. Undo, selection and finding are the browser's own.

const INDENT = "    ";

class Editor {
  /** `changed` is called after each change of the text. */
  constructor(name, text, changed) {
    this.python = name.endsWith(".py");
    this.box = make("textarea", {
      class: "sheet", spellcheck: "false", autocapitalize: "off", autocomplete: "off", autocorrect: "off", wrap: "off",
      "aria-label": `Text of ${name}`,
    });
    this.colours = make("code");
    this.numbers = make("pre", { class: "numbers", "aria-hidden": "true" });
    const under = make("pre", { class: "sheet", "aria-hidden": "true" }, this.colours);
    this.element = make("div", { class: "editor" }, this.numbers, make("div", { class: "sheets" }, under, this.box));
    this.lines = [];
    this.leaving = false;
    this.box.value = text;
    this.draw();
    this.box.addEventListener("input", () => { this.draw(); changed(); });
    this.box.addEventListener("keydown", (event) => this.key(event));
  }

  get text() { return this.box.value; }

  /** Other text in the place of all, as an edit that can be undone. */
  replace(text) {
    if (text === this.text) return;
    this.put(0, this.text.length, text);
    this.box.setSelectionRange(0, 0);
  }

  /** Other text that was read from disk: nothing to undo. */
  load(text) {
    this.box.value = text;
    this.draw();
  }

  /** Draws the lines that have changed since the last time. */
  draw() {
    let open = "";
    const lines = this.text.split("\n").map((line) => {
      const coloured = this.python ? colourLine(line, open) : { pieces: [[null, line]], open };
      const key = `${open}\n${line}`;
      open = coloured.open;
      return { key, pieces: coloured.pieces };
    });
    const old = this.lines;
    let [top, bottom] = [0, 0];
    const most = Math.min(old.length, lines.length);
    while (top < most && old[top].key === lines[top].key) top += 1;
    while (bottom < most - top && old.at(-1 - bottom).key === lines.at(-1 - bottom).key) bottom += 1;
    const nodes = this.colours.childNodes;
    for (let count = old.length - top - bottom; count > 0; count -= 1) nodes[top].remove();
    const drawn = lines.slice(top, lines.length - bottom).map(({ pieces }) => lineElement(pieces));
    if (nodes[top]) nodes[top].before(...drawn);
    else this.colours.append(...drawn);
    if (old.length !== lines.length) this.numbers.textContent = lines.map((_, i) => i + 1).join("\n");
    this.lines = lines;
  }

  key(event) {
    if (event.isComposing || event.altKey || event.ctrlKey || event.metaKey) return;
    const leaving = this.leaving;
    this.leaving = event.key === "Escape";
    if (event.key === "Tab" && !leaving) {
      event.preventDefault();
      this.indent(event.shiftKey);
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      const { selectionStart: at, selectionEnd: end } = this.box;
      const before = this.text.slice(this.text.lastIndexOf("\n", at - 1) + 1, at);
      const deeper = this.python && /:\s*$/.test(before) ? INDENT : "";
      this.put(at, end, `\n${/^\s*/.exec(before)[0]}${deeper}`);
    }
  }

  /** Tab: to the next stop, or all lines of a selection deeper; with Shift less deep. */
  indent(less) {
    const { selectionStart: from, selectionEnd: to } = this.box;
    const start = this.text.lastIndexOf("\n", from - 1) + 1;
    if (!less && !this.text.slice(from, to).includes("\n")) {
      return this.put(from, to, " ".repeat(INDENT.length - ((from - start) % INDENT.length)));
    }
    const last = to > from && this.text[to - 1] === "\n" ? to - 1 : to;
    const end = this.text.indexOf("\n", last) < 0 ? this.text.length : this.text.indexOf("\n", last);
    const lines = this.text.slice(start, end).split("\n");
    const moved = lines.map((line) => (less ? line.replace(/^ {1,4}/, "") : line && INDENT + line));
    const [first, all] = [moved[0].length - lines[0].length, moved.join("\n").length - (end - start)];
    this.put(start, end, moved.join("\n"));
    this.box.setSelectionRange(Math.max(start, from + first), Math.max(start, to + all));
  }

  /** Puts text in the place of a range, so that the browser can undo it. */
  put(from, to, text) {
    this.box.focus();
    this.box.setSelectionRange(from, to);
    const done = text ? document.execCommand("insertText", false, text) : document.execCommand("delete");
    if (done || from === to && !text) return;
    this.box.setRangeText(text, from, to, "end");
    this.box.dispatchEvent(new Event("input"));
  }
}

function lineElement(pieces) {
  const parts = pieces.filter(([, text]) => text).map(([kind, text]) => (kind ? make("span", { class: kind }, text) : text));
  return make("span", {}, parts, "\n");
}
