"""The HTML report: whole by itself, safe with hostile text, and looked at by a real browser."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from trueformer.doctor.html import headline, html
from trueformer.doctor.html_figures import Scale, bar, drawn
from trueformer.doctor.report import Report
from trueformer.laws.law import Evidence, Figure

EMPTY = ("meta",)


class Reader(HTMLParser):
    """Every element with its attributes, and whether each is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.open += [tag] if tag not in EMPTY else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_element_is_closed_and_none_is_foreign(report: Report):
    page = Reader(html(report))
    assert page.open == []
    names = {name for name, _ in page.seen}
    assert not names & {"script", "link", "img", "iframe", "object", "base", "form"}
    for _, attributes in page.seen:
        assert not {"src", "href", "style", "xlink:href"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)


def test_nothing_is_asked_of_a_network(report: Report):
    text = html(report)
    assert not re.search(r"https?:|url\(|@import", text)
    assert "default-src 'none'" in text


def test_hostile_text_stays_text(report: Report, hostile: str):
    text = html(report)
    assert "<script" not in text
    assert "&lt;script&gt;alert(" in text
    assert not set("\x1b\x00\ud800\u202e") & set(text)
    figure = Figure(
        kind="lines", title=hostile, x_label=hostile, y_label=hostile, lines={hostile: (1.0, 2.0)}
    )
    assert Reader(drawn(figure)).open == []
    assert "<script" not in drawn(figure)


def test_every_law_is_in_it_with_its_numbers(report: Report):
    text = html(report)
    for result in report.results:
        assert result.law.id in text
    assert "nan, expected at most 1e-05" in text
    assert "trueformer check x --only attention/broken" in text
    assert text.index("attention/broken") < text.index("attention/holds")


@pytest.mark.parametrize(
    ("chosen", "words"),
    [((0,), "No law is broken"), ((0, 1), "1 law broken"), ((1, 2, 3), "1 law broken, 2 could not be finished"),
     ((0, 2), "1 could not be finished"), ((4, 5), "No law could be judged"), ((0, 6), "No law is broken")],
)  # fmt: skip
def test_the_headline(report: Report, chosen: tuple[int, ...], words: str):
    results = tuple(report.results[i] for i in chosen)
    assert headline(Report(subject="x", results=results)) == words


def circles(svg: str) -> list[tuple[float, float]]:
    found = [a for name, a in Reader(svg).seen if name == "circle"]
    return [(float(a["cx"] or 0), float(a["cy"] or 0)) for a in found]


def test_a_heat_map_has_a_cell_an_entry_which_tells_its_number():
    figure = Figure(kind="matrix", title="t", matrix=((0.0, 1.0, 2.0), (3.0, float("nan"), float("inf"))))
    svg = drawn(figure)
    assert re.findall(r"<title>(.*?)</title>", svg) == [
        "0, 0: 0",
        "0, 1: 1",
        "0, 2: 2",
        "1, 0: 3",
        "1, 1: nan",
        "1, 2: inf",
    ]
    shades = [a.get("fill") for name, a in Reader(svg).seen if name == "rect"][:6]
    assert shades[0] == "#00224e"
    assert shades[3] == shades[5] == "#fee838"  # the most, and what is more than all
    assert shades[4] is None  # nan has a colour of its own, from the style
    assert len(set(shades)) == 5


def test_a_line_goes_up_where_numbers_do_and_breaks_where_there_is_none():
    svg = drawn(Figure(kind="lines", title="t", lines={"a": (1.0, 2.0, float("nan"), 4.0)}))
    (_, low), (_, middle), (_, high) = circles(svg)
    assert low > middle > high  # y grows downwards
    path = next(a["d"] for name, a in Reader(svg).seen if name == "path" and a.get("class") == "line")
    assert path is not None
    assert path.count("M") == 1


def test_on_a_logarithmic_scale_powers_of_ten_are_equally_far_apart():
    ys = [
        y
        for _, y in circles(drawn(Figure(kind="lines", title="t", lines={"a": (0.01, 1.0, 100.0)}, log=True)))
    ]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2])
    assert Scale((0.01, 100.0), True).ticks() == [0.01, 0.1, 1.0, 10.0, 100.0]
    assert Scale((0.0, 10.0), False).ticks() == [0.0, 5.0, 10.0]


def test_a_figure_without_numbers_is_left_out():
    for figure in (
        Figure(kind="matrix", title="t"),
        Figure(kind="matrix", title="t", matrix=((),)),
        Figure(kind="lines", title="t", lines={"a": ()}),
    ):
        assert drawn(figure) == ""
    for values in ((float("nan"),), (0.0, 0.0), (float("inf"),)):
        for log in (False, True):
            assert "nan" not in drawn(Figure(kind="lines", title="t", lines={"a": values}, log=log))
            assert Reader(drawn(Figure(kind="matrix", title="t", matrix=(values,), log=log))).open == []


@pytest.mark.parametrize("at_least", [False, True])
@pytest.mark.parametrize("measured", [0.0, 1e-9, 0.5, 3.0, float("inf"), float("nan")])
def test_the_dot_is_on_the_allowed_side_only_where_the_law_holds(measured: float, at_least: bool):
    evidence = Evidence(measured=measured, bound=1.0, at_least=at_least)
    elements = Reader(bar(evidence)).seen
    dot = next(float(a["cx"] or 0) for name, a in elements if name == "circle")
    allowed = next(a for name, a in elements if a.get("class") == "allowed")
    left, width = float(allowed["x"] or 0), float(allowed["width"] or 0)
    if measured == measured:
        assert (left <= dot <= left + width) == evidence.holds
    assert ("ok" in [a.get("class") for _, a in elements]) == evidence.holds


def test_no_bar_where_a_logarithm_cannot_show_it():
    assert bar(Evidence(measured=-1.0, bound=1.0)) == bar(Evidence(measured=1.0, bound=0.0)) == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_within_its_width_and_finds_nothing_to_complain_of(
    report: Report, tmp_path: Path, scheme, width: int
):
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium")
    if found is None:
        pytest.skip(reason="no chromium here: install it (Debian: apt install chromium) to test the page")
    path, said = tmp_path / "report.html", []
    path.write_text(html(report), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: said.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(entry => entry.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        colours = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        browser.close()
    assert said == []
    light, dark = ["rgb(246, 247, 249)", "rgb(27, 31, 36)"], ["rgb(17, 20, 24)", "rgb(228, 232, 237)"]
    assert colours == (light if scheme == "light" else dark)
