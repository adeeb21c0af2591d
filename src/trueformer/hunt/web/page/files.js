// The files of the workspace: the list, the open ones, saving so that nothing is lost, what was changed.

const hunt = { name: "", state: null, at: 0 }; // the hunt that the page is on, and when its state was read
const open = new Map(); // by path: { editor, version (of the disk's text), saved (that text), before (as handed out) }
let files = [];
let current = "";

const api = (rest) => `/api/hunts/${hunt.name}${rest}`;
const unsaved = (path) => open.has(path) && open.get(path).editor.text !== open.get(path).saved;

/** Shows one of the views; the list of files and the work stay beside it where there is room. */
function show(view) {
  const main = find("hunt");
  main.dataset.view = view;
  if (["report", "code", "changes"].includes(view)) main.dataset.center = view;
  const roomy = matchMedia("(min-width: 60rem)").matches;
  for (const button of find("views").children) {
    const on = button.dataset.view === (roomy ? main.dataset.center : view);
    button.setAttribute("aria-pressed", String(on));
  }
}

/** Reads which files there are; those that changed on disk and not here are read anew. */
async function readFiles() {
  files = await ask(api("/files"));
  for (const { path, version } of files) {
    const file = open.get(path);
    if (!file || !version || file.version === version) continue;
    if (unsaved(path)) showConflict(path);
    else await reread(path);
  }
  drawTree();
}

function drawTree() {
  const wanted = find("find-file").value.trim().toLowerCase();
  const folders = Map.groupBy?.(files, folderOf) ?? groups(files, folderOf);
  const parts = [];
  for (const [folder, inside] of folders) {
    const shown = inside.filter(({ path }) => path.toLowerCase().includes(wanted));
    if (shown.length) parts.push(make("h3", {}, folder || "workspace"), make("ul", {}, shown.map(fileRow)));
  }
  find("tree").replaceChildren(...(parts.length ? parts : [make("p", { class: "says" }, "No file has that in its name.")]));
}

const folderOf = ({ path }) => path.slice(0, Math.max(0, path.lastIndexOf("/")));

function groups(rows, key) {
  const found = new Map();
  for (const row of rows) found.set(key(row), [...(found.get(key(row)) ?? []), row]);
  return found;
}

function fileRow({ path, state }) {
  const mark = unsaved(path) ? "unsaved" : state;
  const button = make("button", { type: "button", "data-path": path, "aria-current": path === current && "true", disabled: state === "gone" },
    make("span", {}, path.slice(path.lastIndexOf("/") + 1)), mark && make("i", { class: mark }, mark));
  return make("li", {}, button);
}

async function openFile(path) {
  if (!open.has(path)) {
    const { text, version, before } = await ask(api(`/file?path=${encodeURIComponent(path)}`));
    const editor = new Editor(path, text, () => showFile());
    open.set(path, { editor, version, saved: editor.text, before });
    find("editors").append(editor.element);
  }
  current = path;
  show("code");
  for (const [name, { editor }] of open) editor.element.hidden = name !== path;
  find("editors").querySelector(".empty")?.remove();
  find("conflict").replaceChildren();
  showFile();
  drawTree();
  if (matchMedia("(hover: hover)").matches) open.get(path).editor.box.focus({ preventScroll: true });
}

let wasUnsaved = "";

/** What is said of the file that is shown. */
function showFile() {
  const file = open.get(current);
  if (!file) return;
  find("path").textContent = current;
  find("saved").textContent = unsaved(current) ? "unsaved" : "";
  find("save").disabled = !unsaved(current);
  find("restore").disabled = file.before === null || file.editor.text === file.before;
  const now = [...open.keys()].filter(unsaved).join();
  if (now !== wasUnsaved) drawTree();
  wasUnsaved = now;
}

/** Saves a file; where it was changed on disk meanwhile, says so and leaves it. */
async function save(path, version = open.get(path).version) {
  const file = open.get(path);
  const text = file.editor.text;
  try {
    const saved = await ask(api("/file"), "PUT", { path, text, version });
    Object.assign(file, { version: saved.version, saved: text });
  } catch (error) {
    if (error.status === 409) {
      await openFile(path);
      showConflict(path);
      error.shown = true;
    }
    throw error;
  }
  if (path === current) find("conflict").replaceChildren();
  showFile();
  if (path === current && !unsaved(path)) find("saved").textContent = "saved";
  await readFiles();
}

/** Before anything runs: what runs is what is seen. */
async function saveAll() {
  for (const path of open.keys()) if (unsaved(path)) await save(path);
}

async function reread(path) {
  const { text, version } = await ask(api(`/file?path=${encodeURIComponent(path)}`));
  const file = open.get(path);
  file.editor.load(text);
  Object.assign(file, { version, saved: file.editor.text });
  if (path === current) find("conflict").replaceChildren();
  showFile();
}

/** A file has changed both here and on disk: the reader decides. */
function showConflict(path) {
  if (path !== current) return;
  const choice = (label, work) => {
    const button = make("button", { type: "button", class: "plain" }, label);
    button.addEventListener("click", acting(work));
    return button;
  };
  const theirs = choice("Read it from disk, without mine", () => reread(path));
  const mine = choice("Save mine over it", async () => {
    const { version } = await ask(api(`/file?path=${encodeURIComponent(path)}`));
    await save(path, version);
  });
  const says = make("p", {}, `${path} was changed on disk after it was read here. Your text is not saved.`);
  find("conflict").replaceChildren(make("div", { class: "notice" }, says, make("div", { class: "row" }, theirs, mine)));
}

async function showChanges() {
  show("changes");
  const { difference } = await ask(api("/changes"));
  const waiting = [...open.keys()].filter(unsaved);
  const note = waiting.length ? make("p", { class: "says" }, `Not saved, so not shown: ${waiting.join(", ")}.`) : "";
  const none = make("p", { class: "empty" }, "Nothing is changed: the code is as it was handed out.");
  find("changes").replaceChildren(note, difference ? diffElement(difference) : none);
}

function startFiles() {
  find("tree").addEventListener("click", acting(async (event) => {
    const button = event.target.closest("button[data-path]");
    if (button) await openFile(button.dataset.path);
  }));
  find("find-file").addEventListener("input", drawTree);
  find("views").addEventListener("click", acting(async (event) => {
    const view = event.target.dataset?.view;
    if (view === "changes") await showChanges();
    else if (view) show(view);
  }));
  find("save").addEventListener("click", acting(() => save(current)));
  find("restore").addEventListener("click", () => open.get(current).editor.replace(open.get(current).before));
  document.addEventListener("keydown", acting(async (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    if (event.key.toLowerCase() === "s") {
      event.preventDefault();
      if (current && unsaved(current)) await save(current);
    } else if (event.key === "Enter") {
      event.preventDefault();
      await check();
    }
  }));
  addEventListener("focus", acting(readFiles));
  addEventListener("beforeunload", (event) => { if ([...open.keys()].some(unsaved)) event.preventDefault(); });
}
