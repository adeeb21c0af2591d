// What the reader can set: sampling, the system prompt. Kept in the browser, checked when read back.

const SLIDERS = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, usual: 0.7, says: "0 always takes the likeliest token." },
  { name: "top_p", label: "Top p", min: 0.05, max: 1, step: 0.05, usual: 0.95, off: 1, says: "The likeliest tokens that make up this share." },
  { name: "top_k", label: "Top k", min: 0, max: 200, step: 1, usual: 0, off: 0, says: "Only so many of the likeliest tokens." },
  { name: "min_p", label: "Min p", min: 0, max: 0.5, step: 0.01, usual: 0, off: 0, says: "Only tokens this likely, compared with the likeliest." },
  { name: "repetition_penalty", label: "Repetition penalty", min: 1, max: 1.5, step: 0.01, usual: 1, off: 1, says: "Makes tokens that were used less likely." },
  { name: "max_tokens", label: "Most tokens", min: 8, max: 4096, step: 8, usual: 512, off: 4096, says: "Where a reply is cut; off: where the context ends." },
];

const settings = { values: {}, seed: "", system: "" };

/** Builds the sliders, and shows what was kept. */
function startSettings() {
  for (const slider of SLIDERS) find("sliders").append(sliderRow(slider));
  const before = kept("settings");
  settings.system = typeof before?.system === "string" ? before.system.slice(0, 20_000) : "";
  settings.seed = /^\d{1,15}$/.test(before?.seed) ? String(before.seed) : "";
  for (const { name, usual } of SLIDERS) settings.values[name] = before?.values?.[name] ?? usual;
  showSettings();
  find("settings").addEventListener("input", (event) => {
    if (event.target.type === "range") settings.values[event.target.name] = Number(event.target.value);
    settings.seed = find("seed").value;
    settings.system = find("system").value;
    showSettings();
    keep("settings", settings);
  });
  find("reset").addEventListener("click", () => {
    for (const { name, usual } of SLIDERS) settings.values[name] = usual;
    settings.seed = settings.system = "";
    showSettings();
    keep("settings", settings);
  });
}

function sliderRow({ name, label, min, max, step, says }) {
  const input = make("input", { type: "range", id: name, name, min, max, step, "aria-describedby": `${name}-says` });
  const head = make("div", { class: "row" }, make("label", { for: name }, label), make("output", { for: name, id: `${name}-value` }));
  return make("div", { class: "slider" }, head, input, make("p", { class: "says", id: `${name}-says` }, says));
}

/** Shows the settings; a slider's number outside its range becomes the nearest in it. */
function showSettings() {
  for (const slider of SLIDERS) {
    const input = find(slider.name);
    const wanted = Number(settings.values[slider.name]);
    input.value = Number.isFinite(wanted) ? wanted : slider.usual;
    const value = Number(input.value);
    settings.values[slider.name] = value;
    const text = value === slider.off ? "off" : String(Number(value.toFixed(2)));
    find(`${slider.name}-value`).textContent = text;
    input.setAttribute("aria-valuetext", text);
  }
  if (find("seed").value !== settings.seed) find("seed").value = settings.seed;
  if (find("system").value !== settings.system) find("system").value = settings.system;
}

/** A reply can be no longer than the model's context; in a short one it may take all the room there is. */
function limitTokens(context) {
  const slider = SLIDERS.find(({ name }) => name === "max_tokens");
  if (!Number.isInteger(context) || context < 16) return;
  slider.max = slider.off = Math.min(4096, context - (context % 8));
  slider.usual = context < 1024 ? slider.off : 512;
  find("max_tokens").max = slider.max;
  if (settings.values.max_tokens > slider.max || !kept("settings")) settings.values.max_tokens = slider.usual;
  showSettings();
}

/** The settings as the server takes them; no seed means a new one each time. */
function samplingRequest() {
  const { top_k, max_tokens, ...sampling } = settings.values;
  const limited = max_tokens !== SLIDERS.find(({ name }) => name === "max_tokens").off;
  const seed = /^\d{1,15}$/.test(settings.seed.trim()) ? { seed: Number(settings.seed) } : {};
  return { ...sampling, ...(top_k ? { top_k } : {}), ...(limited ? { max_tokens } : {}), ...seed };
}

/** The drawer: beside the chat where there is room, over it, and holding the focus, where there is not. */
function startDrawer() {
  const [drawer, button] = [find("settings"), find("open-settings")];
  const roomy = matchMedia("(min-width: 64rem)");
  const show = () => (roomy.matches ? drawer.show() : drawer.showModal());
  button.addEventListener("click", () => (drawer.open ? drawer.close() : show()));
  find("close-settings").addEventListener("click", () => drawer.close());
  drawer.addEventListener("click", (event) => {
    const beside = event.clientX < drawer.getBoundingClientRect().left;
    if (beside && event.target === drawer && drawer.matches(":modal")) drawer.close();
  });
  roomy.addEventListener("change", () => {
    if (!drawer.open) return;
    drawer.close();
    show();
  });
  new MutationObserver(() => button.setAttribute("aria-expanded", String(drawer.open))).observe(drawer, {
    attributeFilter: ["open"],
  });
}
