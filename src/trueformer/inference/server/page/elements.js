// Elements from data, never from markup: strings become text, so nothing that is said can become HTML.

const find = (id) => document.getElementById(id);

/** An element; attributes that are null or false are left out, children are nodes, strings and lists of them. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) element.append(child);
  return element;
}

/** One of the page's own drawings. */
function icon(name) {
  const [drawing, use] = ["svg", "use"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  drawing.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  drawing.append(use);
  return drawing;
}

/** A round button with a drawing; `act` is what the listener of the conversation looks at. */
const iconButton = (name, label, act) =>
  make("button", { type: "button", class: "icon", "data-act": act, "aria-label": label, title: label }, icon(name));

/** Makes the children of `parent` equal to `wanted`; those equal already stay, and with them what is selected there. */
function setChildren(parent, wanted) {
  wanted.forEach((node, i) => {
    const old = parent.childNodes[i];
    if (!old) parent.append(node);
    else if (node.className === "tokens" && old.className === "tokens") setChildren(old, [...node.childNodes]);
    else if (!old.isEqualNode(node)) old.replaceWith(node);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

/** Puts text on the clipboard; pages that are neither local nor HTTPS have only the old way. */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const holder = make("textarea", { class: "unseen" });
  holder.value = text;
  document.body.append(holder);
  holder.select();
  const done = document.execCommand("copy");
  holder.remove();
  if (!done) throw new Error("the browser refused to copy");
}

/** What the browser keeps under a name, or null: keeping may be forbidden, and what was kept may be damaged. */
function kept(name) {
  try {
    return JSON.parse(localStorage.getItem(`trueformer.${name}`));
  } catch {
    return null;
  }
}

/** Keeps a value under a name; says whether the browser did. */
function keep(name, value) {
  try {
    localStorage.setItem(`trueformer.${name}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
