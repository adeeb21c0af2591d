// A conversation as data: a user's message is `{role, text}`, a reply `{role, parts, usage…}` with parts of text (and the
// tokens it was made of), tool calls and results. How it is kept, what the server is sent, what a chunk adds.

const MOST_KEPT = 1_000_000; // characters in the browser's store
const MOST_ALTERNATIVES = 5;

const newReply = () => ({ role: "assistant", parts: [], tokens: 0, reason: null, seconds: 0, first: 0 });

/** What a reply says in words. */
const saidBy = (message) =>
  message.role === "user" ? message.text : message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");

/** Whether a reply says or does anything. */
const isEmpty = (reply) => !reply.parts.some((part) => part.type !== "text" || part.text);

/** Adds a chunk of the stream to a reply: in one chunk words come before tool parts, and tokens belong to its words. */
function addChunk(reply, chunk) {
  const choice = chunk.choices?.[0];
  const { content, parts } = choice?.delta ?? {};
  const tokens = choice?.logprobs?.content;
  const words = typeof content === "string" ? content : "";
  // Tokens of a tool call are no words; words that are held back until a stop string is ruled out have tokens already.
  if (words || (tokens?.length && !parts?.length)) {
    const part = lastText(reply);
    part.text += words;
    for (const token of tokens ?? []) part.tokens.push(compact(token));
  }
  reply.tokens += tokens?.length ?? 0;
  for (const part of parts ?? []) reply.parts.push(toolPart(part));
  if (choice?.finish_reason) reply.reason = String(choice.finish_reason);
  if (Number.isInteger(chunk.usage?.completion_tokens)) reply.tokens = chunk.usage.completion_tokens;
}

function lastText(reply) {
  if (reply.parts.at(-1)?.type !== "text") reply.parts.push({ type: "text", text: "", tokens: [] });
  return reply.parts.at(-1);
}

const toolPart = ({ type, name, input, text }) =>
  type === "tool_call"
    ? { type, name: String(name), input: String(input) }
    : { type: "tool_result", text: String(text) };

/** `[text, log probability, alternatives]`; bytes that are no whole characters are shown as numbers. */
function compact({ token, logprob, bytes, top_logprobs: top }) {
  const others = (top ?? []).slice(0, MOST_ALTERNATIVES).map((other) => [shown(other.token, other.bytes), other.logprob]);
  return [shown(token, bytes), logprob, others];
}

function shown(token, bytes) {
  if (!Array.isArray(bytes) || !bytes.length) return String(token);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes));
  } catch {
    return bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  }
}

/** The messages as the server takes them: words as a string, a reply that used tools as its parts. */
function toRequest(messages, system) {
  const said = messages.filter((message) => message.role === "user" || !isEmpty(message)).map((message) => {
    if (message.role === "user") return { role: "user", content: message.text };
    const parts = message.parts.filter((part) => part.type !== "text" || part.text);
    const usedTools = parts.some((part) => part.type !== "text");
    return { role: "assistant", content: usedTools ? parts.map(withoutTokens) : saidBy(message) };
  });
  return system.trim() ? [{ role: "system", content: system }, ...said] : said;
}

const withoutTokens = ({ tokens, ...part }) => part;

/** Keeps the conversation; where it is too long for the browser, first tokens, then the oldest messages are left out. */
function keepConversation(messages) {
  let left = messages.map((message) => structuredClone(message));
  const tooLong = () => JSON.stringify(left).length > MOST_KEPT;
  for (const message of left) {
    if (message.parts && tooLong()) message.parts.forEach((part) => part.tokens && (part.tokens = []));
  }
  while (left.length > 1 && tooLong()) left = left.slice(Math.max(1, left.length >> 3));
  keep("chat", left);
}

/** The conversation that was kept; what does not look like a message is left out. */
function keptConversation() {
  const messages = kept("chat");
  return Array.isArray(messages) ? messages.map(asMessage).filter((message) => message !== null) : [];
}

function asMessage(message) {
  if (message?.role === "user" && typeof message.text === "string") return { role: "user", text: message.text };
  if (message?.role !== "assistant" || !Array.isArray(message.parts)) return null;
  const parts = message.parts.filter((part) => part !== null && typeof part === "object").map((part) =>
    part.type === "text" ? { type: "text", text: String(part.text), tokens: tokensOf(part) } : toolPart(part));
  const [tokens, seconds, first] = [message.tokens, message.seconds, message.first].map((n) => Number(n) || 0);
  return { ...newReply(), parts, tokens, seconds, first, reason: message.reason ? String(message.reason) : null };
}

const tokensOf = (part) =>
  (Array.isArray(part.tokens) ? part.tokens : []).filter((token) =>
    Array.isArray(token) && typeof token[0] === "string" && Array.isArray(token[2]) && token[2].every(Array.isArray));
