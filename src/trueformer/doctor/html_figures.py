"""Figures of evidence as inline SVG: heat maps, line charts, and a number beside its bound. No scripts, no fonts.

Every string that goes in is escaped by `markupsafe`; `currentColor` and classes let the page's style decide the rest.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from markupsafe import Markup

from trueformer.doctor.report import number
from trueformer.doctor.words import printable
from trueformer.laws.law import Evidence, Figure

WIDTH = 360.0  # of every figure, in its own units: the width of a phone
SHADES = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
    "#fee838",
)
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito 2008
DASHES = ("none", "6 3", "2 3", "8 3 2 3")


def tag(name: str, *inside: str, **attributes: object) -> Markup:
    """An element; text is escaped, and what is itself an element is not. `stroke_width` is `stroke-width`."""
    said = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
    )
    body = Markup("").join(part if isinstance(part, Markup) else printable(part) for part in inside)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), said, body)


def drawn(figure: Figure) -> Markup:
    """The figure that its kind asks for; nothing where there is no data."""
    if figure.kind == "matrix" and figure.matrix and figure.matrix[0]:
        return heat_map(figure)
    if figure.kind == "lines" and any(figure.lines.values()):
        return line_chart(figure)
    return Markup("")


def _text(words: str, x: float, y: float, anchor: str = "middle", **more: object) -> Markup:
    return tag("text", words, x=_round(x), y=_round(y), text_anchor=anchor, **more)


def _svg(height: float, label: str, *inside: Markup) -> Markup:
    box = f"0 0 {_round(WIDTH)} {_round(height)}"
    return tag("svg", *inside, viewBox=box, role="img", aria_label=printable(label))


def _round(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


# Scales


class Scale:
    """Where a number lies between the least and the most of its kind, from 0 to 1; logarithmic on request."""

    def __init__(self, values: Iterable[float], log: bool) -> None:
        numbers = [abs(v) if log else v for v in values if math.isfinite(v)]
        numbers = [v for v in numbers if v > 0] if log else numbers
        self.log = log
        self.low, self.high = min(numbers, default=1.0), max(numbers, default=1.0)

    def of(self, value: float) -> float:
        """The place of a number; what lies outside is at the nearer end."""
        if self.log:
            value = abs(value)
        if math.isinf(value) or self.high == self.low:
            return float(value >= self.high) if math.isinf(value) else 0.5
        if self.log and value <= 0:
            return 0.0
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def at(self, share: float) -> float:
        """The number at that place."""
        if self.log and self.low > 0:
            return 10 ** (math.log10(self.low) * (1 - share) + math.log10(self.high) * share)
        return self.low * (1 - share) + self.high * share

    def ticks(self) -> list[float]:
        """Round numbers along it, about five."""
        if self.high == self.low:
            return [self.low]
        if self.log and self.low > 0:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            every = max(1, (last - first + 4) // 5)
            return [10.0**power for power in range(first, last + 1, every)] or [self.low, self.high]
        step = _round_step((self.high - self.low) / 4)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [i * step for i in range(first, last + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * 0.999)


# Heat maps


def heat_map(figure: Figure) -> Markup:
    """A matrix as shades from dark (least) to light (most); the rows go down; every cell tells its number on hover."""
    scale = Scale((value for row in figure.matrix for value in row), figure.log)
    rows, columns = len(figure.matrix), max(len(row) for row in figure.matrix)
    left, top, side = 46.0, 8.0, 232 / max(rows, columns)
    cells = [
        _cell(value, scale, left + c * side, top + r * side, side, f"{r}, {c}: {number(value)}")
        for r, row in enumerate(figure.matrix)
        for c, value in enumerate(row)
    ]
    wide, high = columns * side, rows * side
    axes = [
        *(_text(str(c), left + (c + 0.5) * side, top + high + 14) for c in _marks(columns)),
        *(_text(str(r), left - 6, top + (r + 0.5) * side + 4, "end") for r in _marks(rows)),
        _text(figure.x_label, left + wide / 2, top + high + 30),
        _upright(figure.y_label, 12.0, top + high / 2),
    ]
    return _svg(
        top + high + 38, figure.title, *cells, *axes, *_legend(scale, left + wide + 12, top, min(high, 160.0))
    )


def _cell(value: float, scale: Scale, x: float, y: float, side: float, hover: str) -> Markup:
    shade = {"class_": "nan"} if math.isnan(value) else {"fill": _shade(scale.of(value))}
    size = _round(side * 1.02)  # a hair over, so that no seams show
    return tag("rect", tag("title", hover), x=_round(x), y=_round(y), width=size, height=size, **shade)


def _shade(share: float) -> str:
    place = share * (len(SHADES) - 1)
    low = min(int(place), len(SHADES) - 2)
    pair = [tuple(int(shade[i : i + 2], 16) for i in (1, 3, 5)) for shade in SHADES[low : low + 2]]
    return "#" + "".join(f"{round(a + (b - a) * (place - low)):02x}" for a, b in zip(*pair, strict=True))


def _legend(scale: Scale, x: float, y: float, high: float) -> list[Markup]:
    steps = 24
    bars = [
        tag("rect", x=_round(x), y=_round(y + high * (1 - (i + 1) / steps)), width=9, height=_round(high / steps + 0.3),
            fill=_shade((i + 0.5) / steps))
        for i in range(steps)
    ]  # fmt: skip
    ends = [(scale.high, y + 9), (scale.low, y + high)]
    words = [_text(number(value), x + 13, place, "start") for value, place in ends]
    return [*bars, *words, *([_text("log", x + 13, y + high / 2 + 4, "start")] if scale.log else [])]


def _marks(n: int) -> range:
    return range(0, n, max(1, int(_round_step(n / 6))))


def _upright(words: str, x: float, y: float) -> Markup:
    return _text(words, x, y, transform=f"rotate(-90 {_round(x)} {_round(y)})")


# Lines


def line_chart(figure: Figure) -> Markup:
    """Lines over 0, 1, 2, …, with axes and a legend; a line breaks where a number is not finite."""
    values = [value for line in figure.lines.values() for value in line]
    scale, last = Scale(values, figure.log), max(1, max(map(len, figure.lines.values())) - 1)
    left, top, wide, high = 56.0, 8.0, WIDTH - 68, 180.0

    def place(i: int, value: float) -> tuple[float, float]:
        return left + wide * i / last, top + high * (1 - scale.of(value))

    below = top + high
    parts = [
        tag("path", d=f"M{_round(left)} {_round(top)}V{_round(below)}H{_round(left + wide)}", class_="axis")
    ]
    for tick in scale.ticks():
        y = place(0, tick)[1]
        parts.append(tag("path", d=f"M{_round(left)} {_round(y)}h{_round(wide)}", class_="grid"))
        parts.append(_text(number(tick), left - 5, y + 4, "end"))
    parts += [_text(str(i), place(i, 0.0)[0], below + 14) for i in _marks(last + 1)]
    parts += [
        _text(figure.x_label, left + wide / 2, below + 30),
        _upright(figure.y_label, 10.0, top + high / 2),
    ]
    legend_at = below + 46
    for i, (name, line) in enumerate(figure.lines.items()):
        look = {"stroke": LINES[i % len(LINES)], "stroke_dasharray": DASHES[i // len(LINES) % len(DASHES)]}
        parts.append(_line(name, line, place, look, figure.log))
        parts += _key(name, legend_at + 15 * i, look)
    return _svg(legend_at + 15 * len(figure.lines), figure.title, *parts)


def _line(name: str, line: Sequence[float], place, look: dict[str, str], log: bool) -> Markup:
    known = [math.isfinite(value) and (not log or value != 0) for value in line]
    at = [
        place(i, value) if ok else (0.0, 0.0) for i, (value, ok) in enumerate(zip(line, known, strict=True))
    ]
    path = "".join(
        f"M{_round(a[0])} {_round(a[1])}L{_round(b[0])} {_round(b[1])}"
        for (i, a), (j, b) in pairwise(enumerate(at))
        if known[i] and known[j]
    )
    dots = [
        tag("circle", tag("title", f"{name}, {i}: {number(line[i])}"), cx=_round(x), cy=_round(y), r=2.5,
            fill=look["stroke"])
        for i, (x, y) in enumerate(at)
        if known[i] and len(line) <= 200
    ]  # fmt: skip
    return tag("g", tag("path", tag("title", name), d=path, class_="line", **look), *dots)


def _key(name: str, y: float, look: dict[str, str]) -> list[Markup]:
    words = name if len(name) <= 46 else f"…{name[-45:]}"
    return [tag("path", d=f"M56 {_round(y - 4)}h22", class_="line", **look), _text(words, 84.0, y, "start")]


# A number beside its bound


def bar(evidence: Evidence) -> Markup:
    """Where the number lies against its bound, on a logarithmic scale; nothing where a logarithm cannot show it."""
    measured, bound = float(evidence.measured), float(evidence.bound)
    if not (math.isfinite(bound) and bound > 0) or measured < 0:
        return Markup("")
    known = [v for v in (measured, bound) if math.isfinite(v) and v > 0]
    low, high = math.log10(min(known)) - 1, math.log10(max(known)) + 1

    def x(value: float) -> float:
        if value == 0:
            return 10.0
        return 10 + (WIDTH - 20) * ((math.log10(value) - low) / (high - low) if math.isfinite(value) else 1.0)

    at, edge = x(measured), x(bound)
    allowed = (edge, WIDTH - 10 - edge) if evidence.at_least else (10.0, edge - 10)
    side = "at least" if evidence.at_least else "at most"
    state = "ok" if evidence.holds else "bad"
    return _svg(
        56.0,
        f"measured {number(measured)}, {side} {number(bound)}",
        tag("rect", x=10, y=24, width=_round(WIDTH - 20), height=8, rx=4, class_="track"),
        tag("rect", x=_round(allowed[0]), y=24, width=_round(allowed[1]), height=8, rx=4, class_="allowed"),
        tag("path", d=f"M{_round(edge)} 20v16", class_="edge"),
        tag("circle", cx=_round(at), cy=28, r=6, class_=state),
        _beside(f"measured {number(measured)}", at, 13.0, state),
        _beside(f"{side} {number(bound)}", edge, 51.0, "quiet"),
    )


def _beside(words: str, x: float, y: float, class_: str) -> Markup:
    if x < WIDTH * 0.25:
        return _text(words, max(2.0, x - 6), y, "start", class_=class_)
    return _text(words, min(WIDTH - 2, x + 6) if x > WIDTH * 0.75 else x, y, "end" if x > WIDTH * 0.75 else "middle",
                 class_=class_)  # fmt: skip
