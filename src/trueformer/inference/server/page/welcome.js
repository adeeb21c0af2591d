// Around the conversation: the greeting with its examples, the models on offer, and what went wrong with the way on.

let offered = []; // the models

/** Says what is wrong and offers the way on; asks for the key where that is what is missing. */
function showTrouble(trouble, again = null, calm = false, label = "Try again") {
  const place = find("trouble");
  place.replaceChildren();
  if (!trouble) return;
  const message = trouble instanceof Trouble ? trouble.message : `The page could not read the reply: ${trouble.message}`;
  const box = make("div", { class: calm ? "notice calm" : "notice" }, make("p", {}, message));
  if (trouble.status === 401) box.append(keyForm(again));
  else if (again) {
    const button = make("button", { type: "button", class: "plain" }, label);
    button.addEventListener("click", again);
    box.append(button);
  }
  place.append(box);
}

function keyForm(again) {
  const input = make("input", { type: "password", "aria-label": "API key", placeholder: "API key", autocomplete: "off" });
  const form = make("form", { class: "row" }, input, make("button", { type: "submit", class: "plain strong" }, "Use this key"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apiKey.set(input.value.trim());
    again();
  });
  return form;
}

const EXAMPLES = [
  "Explain why the sky is blue, in two sentences.",
  "Write a short poem about the sea in winter.",
  "Write a Python function that reverses the words of a sentence.",
];

/** Asks what models there are, and greets. */
async function greet() {
  showTrouble(null);
  await learnModels().catch((trouble) => showTrouble(trouble, greet));
}

async function learnModels(signal) {
  offered = await models(signal);
  const [select, before] = [find("model"), kept("model")];
  select.replaceChildren(...offered.map(({ id }) => make("option", { value: id }, id)));
  if (offered.some(({ id }) => id === before)) select.value = before;
  showModel();
}

function showModel() {
  const model = offered.find(({ id }) => id === find("model").value);
  const tools = Array.isArray(model.tools) ? model.tools.map(String) : [];
  const context = Number(model.context_length);
  find("about").textContent = [
    context ? `${model.id} reads up to ${context.toLocaleString("en")} tokens.` : `You are talking to ${model.id}.`,
    tools.length ? `Its tools: ${tools.join(", ")}.` : "",
    model.chat === false ? "It was not trained to converse and may go on with the text instead of answering." : "",
    "What you write goes to this server only and is kept in this browser.",
  ].join(" ");
  const examples = tools.includes("calculator") ? [...EXAMPLES, "What is 1234 * 5678 - 91?"] : EXAMPLES;
  find("examples").replaceChildren(...examples.map((text) => make("button", { type: "button" }, text)));
  limitTokens(context);
}
