// Messages as elements. They hold no listeners: what was pressed is found by `data-act` and the message's number.

/** A message, whole; `show` says whether it is the `last`, is being `written`, is `edited`, shows its `chances`. */
function messageElement(message, index, show) {
  return message.role === "user" ? userElement(message, index, show) : replyElement(message, index, show);
}

function userElement(message, index, { edited }) {
  const attributes = { class: "user", "data-index": index, "aria-label": "You" };
  if (edited) return make("article", attributes, editor(message.text));
  const actions = make("div", { class: "actions" }, iconButton("copy", "Copy the message", "copy"), iconButton("edit", "Edit the message", "edit"));
  return make("article", attributes, make("div", { class: "bubble" }, message.text), actions);
}

function editor(text) {
  const box = make("textarea", { "aria-label": "Edit the message", rows: "3" }, text);
  const says = make("p", { class: "says" }, "What follows this message is written anew.");
  const cancel = make("button", { type: "button", class: "plain", "data-act": "cancel" }, "Cancel");
  const send = make("button", { type: "submit", class: "plain strong" }, "Send");
  return make("form", { class: "editor" }, box, says, make("div", { class: "row" }, cancel, send));
}

function replyElement(reply, index, { last, written, chances }) {
  const again = last ? [iconButton("again", "Write the reply again", "again")] : [];
  const actions = make("div", { class: "actions" }, iconButton("copy", "Copy the reply", "copy"), again);
  const foot = make("div", { class: "foot" }, actions, make("p", { class: "usage" }, usage(reply)));
  const body = make("div", { class: "body" }, replyNodes(reply, chances));
  const attributes = { class: "reply", "data-index": index, "aria-label": "Reply", "aria-busy": written ? "true" : null };
  return make("article", attributes, body, written ? [] : foot);
}

/** What a reply says and does, in order. */
function replyNodes(reply, chances) {
  const nodes = reply.parts.flatMap((part, i) => {
    if (part.type === "tool_call") return [toolCard(part, reply.parts[i + 1])];
    if (part.type === "tool_result") return reply.parts[i - 1]?.type === "tool_call" ? [] : [toolCard(null, part)];
    return chances ? [tokensView(part, i)] : [...renderMarkdown(part.text).childNodes];
  });
  const nothing = isEmpty(reply) && reply.reason;
  return nothing ? [make("p", { class: "nothing" }, "The model ended its reply before the first word.")] : nodes;
}

/** What the model asked a tool, and what the tool answered. */
function toolCard(call, next) {
  const result = next?.type === "tool_result" ? next : null;
  const head = make("div", { class: "tool-head" }, icon("tool"), make("span", {}, "Tool"), make("b", {}, call?.name ?? "result"));
  const asked = call ? [make("pre", { class: "asked", tabindex: "0", "aria-label": "Asked" }, call.input)] : [];
  const answered = result ? make("pre", { class: "answered", tabindex: "0", "aria-label": "Answered" }, result.text)
    : make("p", { class: "answered" }, "no answer yet");
  return make("section", { class: "tool", "aria-label": `Tool ${call?.name ?? "result"}` }, head, asked, answered);
}

/** Tokens, speed, time to the first token, and why the reply ended where that was not by itself. */
function usage({ tokens, seconds, first, reason }) {
  const reasons = { length: "cut at the most tokens", stopped: "stopped", broken: "broken off" };
  // Tokens that all came in one piece have no speed that could be seen from here.
  const speed = tokens > 1 && seconds - first > 0.02 ? (tokens - 1) / (seconds - first) : 0;
  return [
    tokens ? `${tokens.toLocaleString("en")} token${tokens === 1 ? "" : "s"}` : "",
    speed ? `${speed.toFixed(speed < 10 ? 1 : 0)} tokens/s` : "",
    first ? `first after ${first.toFixed(2)} s` : "",
    reasons[reason] ?? "",
  ].filter(Boolean).map((words) => words.replaceAll(" ", "\u00a0")).join(" · ");
}
