// The first page: one's hunts, drawing a case, all cases by level and component.

const SOME_HUNTS = 6;
let overview = null;
let allHunts = false;

async function startCases() {
  overview = await ask("/api/overview");
  find("overview").hidden = false;
  const levels = Object.entries(overview.levels).map(([level, points]) => make("option", { value: level }, `${level}, ${points} points`));
  const components = [...new Set(overview.cases.map(({ component }) => component))].sort();
  const { elements: filter } = find("filter");
  const { elements: draw } = find("draw-form");
  filter.level.append(make("option", { value: "" }, "any"), ...levels);
  draw.level.append(make("option", { value: "" }, "any"), ...levels.map((option) => option.cloneNode(true)));
  filter.component.append(make("option", { value: "" }, "any"), ...components.map((name) => make("option", {}, name)));
  find("filter").addEventListener("input", showCases);
  find("all-hunts").addEventListener("click", () => { allHunts = true; showHunts(); });
  find("draw-form").addEventListener("submit", acting(async (event) => {
    event.preventDefault();
    await begin({ level: draw.level.value || null, bugs: Number(draw.bugs.value), minutes: Number(draw.minutes.value) || null });
  }));
  find("cases").addEventListener("click", acting(async (event) => {
    const { start } = event.target.closest("button")?.dataset ?? {};
    const wanted = start && (await sure(`Start “${start}”? A folder with a project is made in ${overview.folder}.`, "Start", true));
    if (wanted) await begin({ case: start, ...wanted });
  }));
  find("stop-making").addEventListener("click", acting(() => ask("/api/start", "DELETE")));
  showHunts();
  showCases();
  if ((await ask("/api/start")).running) await watchMaking();
}

function showHunts() {
  const { hunts, points, solved, streak } = overview;
  find("mine").hidden = !hunts.length;
  const levels = Object.entries(solved).filter(([, count]) => count).map(([level, count]) => `${count} ${level}`);
  find("totals").textContent = [`${rounded(points)} points`, `solved: ${levels.join(", ") || "none yet"}`, `streak ${streak}`].join(" · ");
  const shown = allHunts ? hunts : hunts.slice(0, SOME_HUNTS);
  find("hunts").replaceChildren(...shown.map(huntRow));
  find("all-hunts").hidden = shown.length === hunts.length;
}

function huntRow({ name, case: id, state, points, of, time, hints, checks, workspace, there, over }) {
  const said = over ? state : `under way, ${state} repaired`;
  const facts = [said, over ? `${points} of ${of} points` : `worth ${of} points`, time, hints && plural(hints, "hint"), plural(checks, "check")];
  const what = there ? make("a", { href: `/hunts/${name}` }, id) : make("span", {}, id);
  const where = there ? workspace : `${workspace} is gone`;
  return make("li", { class: state === "solved" ? "solved" : null },
    make("div", {}, make("p", { class: "what" }, what), make("p", { class: "says" }, facts.filter(Boolean).join(" · "), make("br"), where)));
}

function showCases() {
  const { level, component, unsolved } = find("filter").elements;
  const shown = overview.cases.filter((row) =>
    (!level.value || row.level === level.value) && (!component.value || row.component === component.value) && !(unsolved.checked && row.solved));
  find("counted").textContent = `${shown.length} of ${plural(overview.cases.length, "case")}`;
  find("cases").replaceChildren(...shown.map(caseRow));
}

function caseRow(row) {
  const solved = row.solved ? make("span", { class: "tag done" }, "✓ solved") : "";
  const tags = make("p", { class: "says" },
    make("span", { class: `tag ${row.level}` }, `${row.level} · ${overview.levels[row.level]}`), make("span", { class: "tag" }, row.component), solved, row.case);
  const start = make("button", { type: "button", class: "plain", "data-start": row.case, "aria-label": `Start ${row.case}` }, "Start");
  return make("li", { class: row.solved ? "solved" : null }, make("div", {}, make("p", { class: "what" }, row["what is seen"]), tags), start);
}

async function begin(wanted) {
  await ask("/api/start", "POST", wanted);
  await watchMaking();
}

/** Follows the making of a workspace, and goes there. */
async function watchMaking() {
  find("making").hidden = false;
  find("making").scrollIntoView({ block: "nearest" });
  const state = await follow("/api/start", ({ seconds }) => {
    find("making-says").textContent = `Planting, and measuring what a colleague would have seen: ${Math.round(seconds)} s`;
  });
  if (state.name) return location.assign(`/hunts/${state.name}`);
  find("making").hidden = true;
  if (!state.reason) throw new Trouble(state.text.trim().replace(/^trueformer: /, "") || "The workspace could not be made.");
  announce(state.reason);
}
