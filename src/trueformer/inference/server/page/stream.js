// Talking to the server: requests with the key, errors a person can act on, replies as they are written (SSE).

const LONGEST_EVENT = 2_000_000; // characters

/** What went wrong, in words for the page; `status` is the answer's, 0 where there was none. */
class Trouble extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

const NO_ANSWER = "The server does not answer. Check that “trueformer serve” is still running.";
const BROKEN_OFF = "The connection ended before the reply did.";

/** The key, kept for this tab only. */
const apiKey = {
  get: () => { try { return sessionStorage.getItem("trueformer.key"); } catch { return null; } },
  set: (key) => { try { sessionStorage.setItem("trueformer.key", key); } catch { /* then it is asked for again */ } },
  forget: () => { try { sessionStorage.removeItem("trueformer.key"); } catch { /* nothing was kept */ } },
};

/** The server's answer; anything but success is thrown as Trouble. */
async function call(path, options = {}) {
  const key = apiKey.get();
  const headers = { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, redirect: "error" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Trouble(NO_ANSWER);
  }
  if (!response.ok) throw new Trouble(await reason(response), response.status);
  return response;
}

async function reason(response) {
  const answer = await response.json().catch(() => null);
  const message = answer?.error?.message;
  return typeof message === "string" && message ? message.slice(0, 2000) : `The server answered ${response.status}.`;
}

/** The models that the server offers. */
async function models(signal) {
  const answer = await (await call("v1/models", { signal })).json().catch(() => null);
  const offered = Array.isArray(answer?.data) ? answer.data.filter((model) => typeof model?.id === "string") : [];
  if (!offered.length) throw new Trouble("The server offers no model.");
  return offered;
}

/** The chunks of a reply, as the server sends them. */
async function* complete(request, signal) {
  const response = await call("v1/chat/completions", { method: "POST", body: JSON.stringify(request), signal });
  for await (const event of readEvents(response.body)) {
    if (event === "[DONE]") return;
    const chunk = parse(event);
    if (chunk.error) throw new Trouble(String(chunk.error.message ?? BROKEN_OFF).slice(0, 2000), 500);
    yield chunk;
  }
  throw new Trouble(BROKEN_OFF);
}

function parse(event) {
  let chunk = null;
  try {
    chunk = JSON.parse(event);
  } catch { /* said below */ }
  if (chunk === null || typeof chunk !== "object") throw new Trouble("The server sent something that is no reply.");
  return chunk;
}

/** The data of each server-sent event; characters and lines may be cut anywhere between two reads. */
async function* readEvents(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let [rest, data] = ["", []];
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        throw error.name === "AbortError" ? error : new Trouble(BROKEN_OFF);
      });
      const lines = (rest + decoder.decode(value, { stream: !done })).split("\n");
      rest = lines.pop();
      if (rest.length > LONGEST_EVENT) throw new Trouble("The server sent a line without an end.");
      for (const line of lines.map((text) => (text.endsWith("\r") ? text.slice(0, -1) : text))) {
        if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        if (line === "" && data.length) yield data.splice(0).join("\n");
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
