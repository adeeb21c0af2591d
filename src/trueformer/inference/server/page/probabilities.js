// How likely each token was: a reply as its tokens, shaded, and a tip with the likeliest others for the one pointed at.
// Tokens are shown as written, without markdown: what a token is has no place in a rendered table.

const SHADES = [0.9, 0.6, 0.3, 0.1, 0.02]; // a token less likely than the n-th is shaded n deep

/** A part of a reply as its tokens; as its text where they are not kept. */
function tokensView(part, place) {
  if (!part.tokens.length) return make("div", { class: "tokens" }, part.text);
  const spans = part.tokens.map(([text, logprob], i) => {
    const probability = Math.exp(logprob);
    const shade = SHADES.filter((least) => probability < least).length;
    const at = { "data-part": place, "data-token": i, tabindex: i ? "-1" : "0" };
    const lines = text.split("\n").map((line, n) => (n ? [make("i"), `\n${line}`] : line));
    return make("span", { class: `token shade-${shade}`, ...at }, lines.flat());
  });
  return make("div", { class: "tokens", role: "group", "aria-label": "Tokens of the reply; arrow keys move" }, spans);
}

const percent = (logprob) => {
  const share = 100 * Math.exp(logprob);
  return Number.isFinite(share) ? `${share < 0.1 ? "<0.1" : share.toFixed(1)} %` : "";
};

/** White space made visible. */
const visible = (text) => text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "·") || "∅";

let pointedAt = null;

function showTip(token, [text, logprob, others]) {
  const tip = find("tip");
  pointedAt = token;
  const rows = others.map(([other, chance]) => {
    const bar = make("i");
    bar.style.width = `${100 * Math.exp(chance)}%`;
    const name = make("td", {}, make("code", {}, visible(other)));
    return make("tr", { class: other === text ? "chosen" : null }, name, make("td", {}, bar), make("td", {}, percent(chance)));
  });
  const head = make("p", {}, make("code", {}, visible(text)), make("b", {}, percent(logprob)));
  tip.replaceChildren(head, ...(rows.length ? [make("table", {}, make("tbody", {}, rows))] : []));
  tip.hidden = false;
  placeTip();
}

/** Above the token, or below it where there is no room; never beyond the window. */
function placeTip() {
  const tip = find("tip");
  if (tip.hidden || !pointedAt.isConnected) return hideTip();
  const token = pointedAt.getClientRects()[0] ?? pointedAt.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  const above = token.top - height - 6;
  tip.style.top = `${above > 4 ? above : token.bottom + 6}px`;
  tip.style.left = `${Math.max(8, Math.min(token.left, document.documentElement.clientWidth - width - 8))}px`;
}

function hideTip() {
  find("tip").hidden = true;
}

/** Listens for pointing at tokens; `tokenOf` gives a span's token. */
function startProbabilities(list, tokenOf) {
  const show = (event) => {
    const span = event.target.closest?.(".token");
    const token = span && tokenOf(span);
    if (token) showTip(span, token);
    else hideTip();
    return token;
  };
  list.addEventListener("pointerover", (event) => event.pointerType === "mouse" && show(event));
  list.addEventListener("pointerleave", hideTip);
  list.addEventListener("click", (event) => event.target.closest(".token")?.focus());
  list.addEventListener("focusin", (event) => {
    const token = show(event);
    if (token) find("announce").textContent = `${visible(token[0])}: ${percent(token[1])}`;
  });
  list.addEventListener("focusout", hideTip);
  list.addEventListener("keydown", moveBetweenTokens);
  find("scroller").addEventListener("scroll", placeTip, { passive: true });
}

function moveBetweenTokens(event) {
  const token = event.target.closest(".token");
  if (!token) return;
  const [first, last] = [token.parentNode.firstElementChild, token.parentNode.lastElementChild];
  const { previousElementSibling: before, nextElementSibling: after } = token;
  const next = { ArrowLeft: before, ArrowRight: after, Home: first, End: last }[event.key];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
