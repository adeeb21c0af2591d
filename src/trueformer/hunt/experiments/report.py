"""What an experiment found, as a table on the terminal, figures in a folder and numbers in a file."""

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Numbers by name, curves by figure (each some lines over the same x), and text that was written."""

    numbers: dict[str, float]
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    texts: tuple[str, ...] = ()


def show(found: Findings, folder: Path, place: int) -> None:
    """Prints the numbers and texts; writes `figures/PLACE-*.png` and this place of `metrics.json` in `folder`."""
    width = max(map(len, found.numbers))
    for name, number in found.numbers.items():
        print(f"  {name:{width}}  {number:.6g}")
    for text in found.texts:
        print(f"  | {text}")
    file = folder / "metrics.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() and place > 1 else {}
    file.write_text(json.dumps({**before, str(place): found.numbers}, indent=1) + "\n", encoding="utf-8")
    for name, lines in found.curves.items():
        draw(lines, name, folder / "figures" / f"{place}-{name.replace(' ', '-')}.png")


def draw(lines: dict[str, list[float]], title: str, path: Path) -> None:
    """One figure of lines."""
    from matplotlib.figure import Figure

    path.parent.mkdir(exist_ok=True)
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, values in lines.items():
        axes.plot(range(1, len(values) + 1), values, label=name)
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
