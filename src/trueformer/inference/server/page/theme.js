/** Light or dark: the system's unless the reader chose. */
function startTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = kept("theme");
  if (["light", "dark"].includes(chosen)) root.dataset.theme = chosen;
  find("theme").addEventListener("click", () => {
    const now = root.dataset.theme ?? (system.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    keep("theme", root.dataset.theme);
  });
}
