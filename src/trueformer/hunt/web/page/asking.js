// Talking to the server, and telling the reader: requests, work that takes a while, trouble, questions.

const NO_ANSWER = "The server does not answer. Check that “trueformer hunt web” is still running; what you typed is still here.";

/** What went wrong, in words for the page; `status` is the answer's, 0 where there was none. */
class Trouble extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The server's answer as data; anything but success is thrown as Trouble. */
async function ask(path, method = "GET", body = null) {
  const sent = body === null ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, { method, redirect: "error", ...sent }).catch(() => { throw new Trouble(NO_ANSWER); });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Trouble(answer?.error?.message ?? `The server answered ${response.status}.`, response.status);
  return answer;
}

/** Asks for the state of some work until it has ended, and shows each. */
async function follow(path, show) {
  for (;;) {
    const state = await ask(path);
    show(state);
    if (!state.running) return state;
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

/** A listener that says what went wrong. */
const acting = (work) => (event) => Promise.resolve(work(event)).catch(showTrouble);

function showTrouble(error) {
  if (error.shown) return; // beside what it is about
  const close = make("button", { type: "button", class: "icon", "aria-label": "Close" }, icon("close"));
  const notice = make("div", { class: "notice" }, make("p", {}, error.message), close);
  close.addEventListener("click", () => notice.remove());
  find("trouble").replaceChildren(notice);
}

const announce = (text) => { find("announce").textContent = text; };

/** Minutes and seconds: "7:24". */
function span(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;
const rounded = (number) => String(Number(number.toFixed(1)));

/** Asks before something that costs; null when it is not wanted, else the answers of the form. */
function sure(question, yes, minutes = false) {
  const dialog = find("sure");
  find("sure-says").textContent = question;
  find("sure-yes").textContent = yes;
  find("sure-minutes").hidden = !minutes;
  dialog.returnValue = "";
  dialog.showModal();
  find("sure-yes").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = Number(dialog.querySelector("input").value);
      resolve(dialog.returnValue === "yes" ? { minutes: given || null } : null);
    }, { once: true });
  });
}

/** A diff as coloured lines. */
function diffElement(text) {
  const kinds = { "+": "added", "-": "removed", "@": "place" };
  const lines = text.split("\n").map((line) => {
    const heading = line.startsWith("--- ") || line.startsWith("+++ ");
    return make("span", { class: heading ? "heading" : (kinds[line[0]] ?? null) }, `${line}\n`);
  });
  return make("pre", { class: "diff", tabindex: "0", "aria-label": "Difference" }, lines);
}
