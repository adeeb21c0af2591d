// Which page this is, by its address.

async function startHunt(name) {
  hunt.name = name;
  await readHunt();
  await readFiles();
  document.body.classList.add("full");
  document.title = `${hunt.state.case} · trueformer hunt`;
  find("report").querySelector(".body").append(...reportNodes(hunt.state.report, name));
  find("report").querySelector(".body").addEventListener("click", copyCode);
  startFiles();
  startWork();
  startHelp();
  find("hunt").hidden = false; // now that every button does something
  show("report");
  await Promise.all([resumeWork(), hunt.state.revealed && showAnswers(true)]);
}

async function copyCode(event) {
  const button = event.target.closest('[data-act="copy-code"]');
  if (!button) return;
  const done = await copy(button.closest(".code").querySelector("code").textContent).then(() => true, () => false);
  announce(done ? "Copied." : "The browser refused to copy.");
}

const place = /^\/hunts\/(\w+)$/.exec(location.pathname);
startTheme();
acting(() => (place ? startHunt(place[1]) : startCases()))();
window.trueformer = { colourLine, flowing, reportNodes }; // for tests
