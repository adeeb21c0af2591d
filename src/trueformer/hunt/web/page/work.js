// The experiment and the check: begun, watched, stopped, and what came of them.

/** Follows work of a kind, with its two buttons; `done` is called with its last state. */
async function watch(kind, says, done) {
  const [begin, stop] = [find(kind), find(`stop-${kind}`)];
  begin.disabled = true;
  stop.hidden = false;
  try {
    await done(await follow(api(`/${kind}`), says));
  } finally {
    begin.disabled = false;
    stop.hidden = true;
  }
}

async function run() {
  show("results");
  if (find("run").disabled) return;
  await saveAll();
  find("numbers").replaceChildren();
  find("figures").replaceChildren();
  await ask(api("/run"), "POST", { seed: Number(find("seed").value) });
  await watchRun();
}

const watchRun = () => watch("run", showOutput, showFound);

function showOutput({ text, seconds, running }) {
  const output = find("output");
  output.hidden = false;
  if (output.textContent !== text) {
    output.textContent = text;
    output.scrollTop = output.scrollHeight;
  }
  if (running) find("run-says").textContent = `running, ${Math.round(seconds)} s`;
}

function showFound({ code, reason, seconds, numbers, figures }) {
  find("run-says").textContent = reason || (code ? `ended with an error, exit ${code}` : `done, ${seconds.toFixed(1)} s`);
  if (code !== 0) return;
  find("numbers").replaceChildren(...numbers.map(numbersTable));
  find("figures").replaceChildren(...figures.map((name) => {
    const label = name.replace(/^\d+-|\.png$/g, "").replaceAll("-", " ");
    return figure(`/hunts/${hunt.name}/figures/${name}?at=${Date.now()}`, `${label}, of this run`, label);
  }));
}

function numbersTable(rows) {
  const head = ["number", "this run", "reported", "known good"].map((name) => make("th", { scope: "col" }, name));
  const body = rows.map(({ number, now, here, sound }) =>
    make("tr", {}, make("th", { scope: "row" }, number.replaceAll("_", " ")), make("td", {}, now), make("td", {}, here ?? ""), make("td", {}, sound ?? "")));
  return make("div", { class: "table", tabindex: "0" }, make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, body)));
}

async function check() {
  show("results");
  if (find("check").disabled) return;
  await saveAll();
  await ask(api("/check"), "POST", {});
  await watchCheck();
}

const watchCheck = () => watch("check", showGrading, async (state) => {
  await readHunt();
  showGrade(state);
});

function showGrading({ running, seconds }) {
  if (!running) return;
  const says = make("p", { class: "waiting" }, `Grading: every law over small runs of your code, ${Math.round(seconds)} s`);
  says.setAttribute("aria-live", "off"); // a second is no news
  find("checked").replaceChildren(says);
}

function showGrade({ code, reason, result, text }) {
  const parts = result ? gradeNodes(result) : [verdict("open", reason || `The check itself failed: ${text.trim().split("\n").at(-1)}`)];
  find("checked").replaceChildren(...parts);
  if (result?.state === "solved") find("check-title").scrollIntoView({ block: "nearest" });
}

const verdict = (state, text) => make("p", { class: `verdict ${state}` }, text);
const bullets = (lines, mark) => make("ul", { class: mark }, lines.map((line) => make("li", {}, line)));

/** The same that the terminal says. */
function gradeNodes({ state, error, reasons, repaired, bugs, held, behaviours, more }) {
  if (state === "error") return [verdict(state, "Not gradable"), make("p", {}, error)];
  if (state === "refused") return [verdict(state, "Refused: a repair has no need of this"), bullets(reasons, "dots")];
  if (state === "solved") {
    const { points, most, taken, hints } = hunt.state;
    const score = `${rounded(points)} of ${most} points, ${span(taken)}, ${plural(hints.length, "hint")}`;
    return [verdict(state, `Solved: all ${held} behaviours hold`), make("p", {}, score)];
  }
  const none = behaviours.length ? [] : ["What the report describes is still there, in shapes other than yours."];
  const rest = more ? make("p", { class: "says" }, `… and ${more} more`) : "";
  return [verdict(state, `Not solved: ${repaired} of ${bugs} repaired, ${held} behaviours hold`), bullets([...behaviours, ...none], "crosses"), rest];
}

function startWork() {
  find("run").addEventListener("click", acting(run));
  find("check").addEventListener("click", acting(check));
  for (const kind of ["run", "check"]) find(`stop-${kind}`).addEventListener("click", acting(() => ask(api(`/${kind}`), "DELETE")));
}

/** Shows what was begun before the page was read. */
async function resumeWork() {
  const [ran, graded] = await Promise.all([ask(api("/run")), ask(api("/check"))]);
  if (ran.running || ran.code !== null) acting(async () => { showOutput(ran); await watchRun(); })();
  if (graded.running || graded.code !== null) acting(watchCheck)();
}
