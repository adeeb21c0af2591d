// What the hunt stands at: the clock and the points; hints with their price, and the answer.

/** Reads how the hunt stands, and shows it. */
async function readHunt() {
  hunt.state = await ask(api(""));
  hunt.at = performance.now();
  showHunt();
}

function showHunt() {
  const { case: name, kinds, solved, revealed, points, most, left, hints, next_hint: price, bugs } = hunt.state;
  find("title").textContent = [name, ...(bugs > 1 ? [plural(bugs, "bug")] : kinds)].join(" · ");
  find("worth").hidden = find("clock").hidden = false;
  find("worth").textContent = solved || revealed ? `${rounded(points)} of ${most} points` : `worth ${rounded(left)} of ${most} points`;
  showClock();
  find("hints").replaceChildren(...hints.map((texts) => make("li", {}, texts.length === 1 ? texts[0] : texts.map((text, i) => make("p", {}, `Bug ${i + 1}: ${text}`)))));
  const hint = find("hint");
  hint.hidden = solved || revealed;
  hint.disabled = price === null;
  hint.textContent = price === null ? "All hints are given" : `Hint ${hints.length + 1}, costs ${cost(price)}`;
  find("reveal").textContent = solved ? "Show the original repair and the lesson" : "Give up and see the answer";
  find("reveal").hidden = revealed;
}

const cost = (price) => `${rounded(price)} ${price === 1 ? "point" : "points"}`;

/** Time left where there is a limit, else time taken. */
function showClock() {
  const { minutes, taken, solved, revealed } = hunt.state;
  const now = taken + (solved || revealed ? 0 : (performance.now() - hunt.at) / 1000);
  const over = minutes !== null && now > minutes * 60;
  const clock = find("clock");
  if (solved) clock.textContent = `solved in ${span(now)}`;
  else if (revealed) clock.textContent = "given up";
  else if (minutes === null) clock.textContent = span(now);
  else clock.textContent = over ? `${span(now - minutes * 60)} over, each minute costs points` : `${span(minutes * 60 - now)} left`;
  clock.classList.toggle("over", over && !solved && !revealed);
}

async function takeHint() {
  const { hints, next_hint: price } = hunt.state;
  const number = hints.length + 1;
  if (!(await sure(`Hint ${number} costs ${cost(price)} of what this hunt can still bring.`, "Take the hint"))) return;
  hunt.state = await ask(api("/hint"), "POST", { number });
  hunt.at = performance.now();
  showHunt();
}

async function reveal() {
  const { solved } = hunt.state;
  if (!solved && !(await sure("Giving up shows the bug and its lesson. The hunt then brings no more points.", "Give up"))) return;
  find("reveal").disabled = true;
  find("answers").replaceChildren(make("p", { class: "waiting" }, "Comparing with sound code …"));
  await showAnswers(!solved).catch((error) => { find("answers").replaceChildren(); throw error; })
    .finally(() => { find("reveal").disabled = false; });
  await readHunt();
}

async function showAnswers(giveUp) {
  const answers = await ask(api("/reveal"), "POST", { give_up: giveUp });
  find("answers").replaceChildren(...answers.map(({ case: name, kind, lesson, difference, laws, source }) =>
    make("article", {},
      make("h3", {}, `${name} · ${kind}`),
      make("div", { class: "body" }, renderMarkdown(flowing(lesson.split("\n")).join("\n"))),
      diffElement(difference),
      make("ul", { class: "dots" }, Object.entries(laws).map(([id, statement]) => make("li", {}, make("b", {}, id), `: ${statement}`))),
      make("p", { class: "says" }, `Source: ${source}`))));
}

function startHelp() {
  find("hint").addEventListener("click", acting(takeHint));
  find("reveal").addEventListener("click", acting(reveal));
  setInterval(showClock, 1000);
}
