// The page at work: asking, stopping, asking again, editing; what is shown when, and what each key and button does.

const chat = { messages: keptConversation(), running: null, editing: null, chances: kept("chances") === true };
let pinned = true; // whether the reader is at the bottom, where new words are followed

function draw() {
  const { messages, running, editing, chances } = chat;
  const end = messages.length - 1;
  const elements = messages.map((message, i) =>
    messageElement(message, i, { last: i === end, written: running?.reply === message, edited: editing === i, chances }));
  setChildren(find("messages"), elements);
  placeTip();
  find("welcome").hidden = messages.length > 0;
  find("legend").hidden = !chances || !messages.length;
  find("chances").setAttribute("aria-pressed", String(chances));
  showSend();
  follow();
}

/** The button beside the box stops a reply that is being written, and otherwise sends. */
function showSend() {
  const [button, running] = [find("send"), chat.running !== null];
  const label = running ? "Stop" : "Send";
  button.disabled = !running && !find("box").value.trim();
  if (button.title === label) return;
  button.title = label;
  button.setAttribute("aria-label", label);
  button.replaceChildren(icon(label.toLowerCase()));
}

function follow() {
  const scroller = find("scroller");
  if (pinned) scroller.scrollTop = scroller.scrollHeight;
  find("to-bottom").hidden = pinned;
}

/** Asks for the next reply and shows it while it comes; ends when it has ended, however that was. */
async function ask() {
  const stop = new AbortController();
  const { messages } = chat;
  const reply = newReply();
  messages.push(reply);
  showTrouble(null);
  let trouble = null;
  chat.running = { stop, reply, ended: take(messages, reply, stop.signal).catch((error) => { trouble = error; }) };
  pinned = true;
  draw();
  await chat.running.ended;
  chat.running = null;
  end(messages, reply, trouble);
}

const completionRequest = (messages) => ({
  model: find("model").value, messages: toRequest(messages, settings.system), ...samplingRequest(),
  stream: true, stream_options: { include_usage: true }, logprobs: true, top_logprobs: MOST_ALTERNATIVES,
});

/** Adds the chunks of a reply as they come, with the seconds they took; who writes early waits for the models' names. */
async function take(messages, reply, signal) {
  if (!offered.length) await learnModels(signal);
  const started = performance.now();
  for await (const chunk of complete(completionRequest(messages), signal)) {
    addChunk(reply, chunk);
    const seconds = (performance.now() - started) / 1000;
    if (!reply.first && (reply.tokens || !isEmpty(reply))) reply.first = seconds;
    if (chunk.choices?.length) reply.seconds = seconds;
    drawSoon(reply);
  }
}

let drawing = null;
let pause = 0;

/** Shows the reply so far; the longer that takes, the more rarely it is done. */
function drawSoon(reply) {
  drawing ??= setTimeout(() => requestAnimationFrame(() => {
    drawing = null;
    const body = find("messages").querySelector('[aria-busy="true"] .body');
    if (!body || chat.running?.reply !== reply) return;
    const started = performance.now();
    setChildren(body, replyNodes(reply, chat.chances));
    follow();
    pause = 4 * (performance.now() - started);
  }), pause);
}

function end(messages, reply, trouble) {
  const stopped = trouble?.name === "AbortError";
  if (trouble) reply.reason = stopped ? "stopped" : "broken";
  if (trouble && isEmpty(reply)) messages.splice(messages.indexOf(reply), 1);
  if (trouble && !stopped) showTrouble(trouble, retry);
  if (stopped && isEmpty(reply)) showTrouble(new Trouble("Stopped before the first word."), retry, true);
  if (!trouble) find("announce").textContent = `Reply: ${saidBy(reply).slice(0, 2000)}`;
  keepConversation(chat.messages);
  draw();
}

async function halt() {
  chat.running?.stop.abort();
  while (chat.running) await chat.running.ended;
}

/** Asks for the last reply again, or for the one that did not come. */
async function retry() {
  await halt();
  if (chat.messages.at(-1)?.role === "assistant") chat.messages.pop();
  if (chat.messages.length) await ask();
}

/** Sends a message; in the place of an earlier one, what followed that is gone. */
async function send(text, place = chat.messages.length) {
  if (!text.trim()) return;
  await halt();
  chat.messages.splice(place, Infinity, { role: "user", text });
  chat.editing = null;
  keepConversation(chat.messages);
  await ask();
}

async function edit(place) {
  await halt();
  chat.editing = place;
  draw();
  const box = find("messages").querySelector(".editor textarea");
  box?.focus();
  box?.setSelectionRange(box.value.length, box.value.length);
}

function cancelEdit() {
  chat.editing = null;
  draw();
  find("box").focus();
}

async function startAnew() {
  await halt();
  const before = chat.messages;
  Object.assign(chat, { messages: [], editing: null });
  keepConversation([]);
  pinned = true;
  const undo = () => {
    chat.messages = before;
    keepConversation(before);
    showTrouble(null);
    draw();
  };
  showTrouble(before.length ? new Trouble("The conversation was cleared.") : null, undo, true, "Undo");
  draw();
  find("box").focus();
}

const ACTIONS = {
  copy: (button, place) => confirmCopy(button, saidBy(chat.messages[place])),
  "copy-code": (button) => confirmCopy(button, button.closest(".code").querySelector("code").textContent),
  again: retry,
  edit: (_, place) => edit(place),
  cancel: cancelEdit,
};

async function confirmCopy(button, text) {
  const done = await copy(text).then(() => true, () => false);
  find("announce").textContent = done ? "Copied." : "The browser refused to copy.";
  if (!done) return;
  button.replaceChildren(icon("done"));
  setTimeout(() => button.replaceChildren(icon("copy")), 1500);
}

const placeOf = (element) => Number(element.closest("article").dataset.index);

function startMessages() {
  const list = find("messages");
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) ACTIONS[button.dataset.act](button, placeOf(button));
  });
  list.addEventListener("submit", (event) => {
    event.preventDefault();
    send(event.target.querySelector("textarea").value, placeOf(event.target));
  });
  list.addEventListener("keydown", (event) => {
    if (!event.target.closest(".editor") || event.isComposing) return;
    if (event.key === "Escape") cancelEdit();
    if (event.key === "Enter" && !event.shiftKey && event.target.tagName === "TEXTAREA") {
      event.preventDefault();
      event.target.form.requestSubmit();
    }
  });
  startProbabilities(list, (span) => chat.messages[placeOf(span)]?.parts?.[span.dataset.part]?.tokens[span.dataset.token]);
}

function startComposer() {
  const box = find("box");
  const submit = () => {
    const text = box.value;
    if (chat.running || !text.trim()) return;
    box.value = "";
    grow();
    send(text);
  };
  const grow = () => {
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight}px`;
    showSend();
  };
  box.addEventListener("input", grow);
  box.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const last = chat.messages.findLastIndex(({ role }) => role === "user");
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && !box.value && last >= 0) {
      event.preventDefault();
      edit(last);
    }
  });
  find("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (chat.running) halt();
    else submit();
    box.focus();
  });
  find("examples").addEventListener("click", (event) => event.target.closest("button") && send(event.target.textContent));
}

function startPage() {
  startTheme();
  startSettings();
  startDrawer();
  startMessages();
  startComposer();
  find("new").addEventListener("click", startAnew);
  find("model").addEventListener("change", (event) => keep("model", event.target.value) && showModel());
  find("chances").addEventListener("click", () => {
    chat.chances = !chat.chances;
    keep("chances", chat.chances);
    draw();
  });
  find("forget").addEventListener("click", async () => {
    await halt();
    Object.keys(localStorage).filter((name) => name.startsWith("trueformer.")).forEach((name) => localStorage.removeItem(name));
    apiKey.forget();
    location.reload();
  });
  find("scroller").addEventListener("scroll", ({ target }) => {
    pinned = target.scrollHeight - target.scrollTop - target.clientHeight < 48;
    find("to-bottom").hidden = pinned;
  }, { passive: true });
  find("to-bottom").addEventListener("click", () => { pinned = true; follow(); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    hideTip();
    if (!find("settings").matches(":modal")) halt();
  });
  addEventListener("pagehide", () => chat.running && keepConversation(chat.messages));
  draw();
  greet();
  if (matchMedia("(hover: hover)").matches) find("box").focus();
}

startPage();
window.trueformer = { renderMarkdown, readEvents, addChunk, newReply, toRequest }; // for tests
