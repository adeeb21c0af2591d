"""The page of an interview's report: whole by itself, safe with a candidate's text, and looked at by a real browser."""

import dataclasses
import json
import re
import shutil

import pytest

from trueformer.hunt.bug import bug
from trueformer.hunt.interviews.interview import Asked
from trueformer.hunt.interviews.page import as_data, headline, page, prose
from trueformer.hunt.interviews.report import Case, Report, changes

HOSTILE = "</pre><script>alert(1)</script>\x1b[31m\u202e`x`"
BEFORE = {"nn/a.py": "one\ntwo\nthree\n", "nn/b.py": "b\n"}


def case(folder: str, id: str, state: str, points: float, **words) -> Case:
    planted = bug(id)
    facts = {
        "solved_at": None,
        "hints": 0,
        "asked": (),
        "held": 226,
        "broken": (),
        "fooling": (),
        "error": "",
        "late": (),
        "files": 1,
        "lines": 4,
        "difference": "\n".join(changes(BEFORE, {**BEFORE, "nn/a.py": "one\nzwei " * 9 + "\nthree\n"})),
        "original": "--- nn/a.py with the bug\n+++ nn/a.py\n@@ -1 +1 @@\n-two\n+2",
        **words,
    }
    return Case(
        folder=folder,
        id=id,
        title=planted.title,
        level=planted.level,
        component=planted.component,
        state=state,
        points=points,
        of=planted.weight,
        lesson=planted.lesson,
        source=planted.source,
        **facts,
    )


@pytest.fixture
def found() -> Report:
    asked = (
        Asked(case="case-1", what="hint", at=61.0),
        Asked(case="case-1", what="check", at=200, broken=2),
        Asked(case="case-1", what="check", at=754.2, solved=True),
    )
    fooled = Asked(case="case-2", what="check", at=900.0, fooled=["nn/a.py uses sys.modules"], error=HOSTILE)
    return Report(
        candidate=f"Ada {HOSTILE}",
        folder="/home/you/ada",
        version="0.1.0",
        prepared=1.7e9,
        began=1.7e9,
        reported=1.7e9,
        minutes=60,
        used=3600.0,
        hints=1,
        unwatched=False,
        cases=(
            case("case-1", "tunnel-vision", "solved", 9, solved_at=754.2, hints=1, asked=asked),
            case(
                "case-2",
                "short-sighted",
                "partly",
                10,
                broken=("Decoding with the cache equals decoding without it.", HOSTILE),
                fooling=("15:00: nn/a.py uses sys.modules",),
                late=("nn/a.py",),
                asked=(fooled,),
                difference="\n".join(changes(BEFORE, {**BEFORE, HOSTILE: HOSTILE})),
            ),
            case("case-3", "sinking-loss", "not solved", 0, files=0, lines=0, difference=""),
        ),
    )


def test_nothing_is_asked_of_a_network_and_hostile_text_stays_text(found):
    text = page(found)
    assert not re.search(r"(src|href)=|url\(|@import|<(link|img|iframe|base|form)", text)
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert not set("\x1b\u202e") & set(text)
    assert prose("a `b<c` d\n\ne") == "<p>a <code>b&lt;c</code> d</p><p>e</p>"


def test_everything_is_told(found):
    text = page(found)
    assert headline(found) == "1 of 3 solved, 19 of 90 points"
    for words in (
        "1 of 3 solved, 19 of 90 points",
        "60:00 of 60:00 used",
        "12:34 a check: solved",
        "3:20 a check: not solved, 2 laws broken",
        "1:01 a hint",
        "1 hint allowed in each case",
        "Attempts at fooling the grader",
        "Changed after the last sitting",
        "nothing was changed",
        "what the report describes is still there",
    ):
        assert words in text, words
    for one in found.cases:
        assert one.id in text
        assert one.component in text
    data = json.loads(json.dumps(as_data(found)))
    assert data["totals"] == {"solved": 1, "points": 19.0, "of": 90}
    assert [one["checks"] for one in data["cases"]] == [2, 1, 0]
    nobody = dataclasses.replace(found, began=None, candidate="", unwatched=True)
    assert "nobody has sat yet" in page(nobody)
    assert "was killed" in page(nobody)


def test_changes_are_bounded():
    assert changes(BEFORE, BEFORE) == []
    assert changes(BEFORE, {"nn/a.py": BEFORE["nn/a.py"]})[:2] == ["--- nn/b.py", "+++ nothing"]
    assert "too long to compare" in changes(BEFORE, {**BEFORE, "nn/a.py": "a\n" * 5001})[-1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_within_its_width_and_finds_nothing_to_complain_of(found, tmp_path, scheme, width):
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip(reason="no chromium here: install it (Debian: apt install chromium) to test the page")
    path, said = tmp_path / "report.html", []
    path.write_text(page(found), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        view.on("console", lambda message: said.append(message.text))
        view.on("request", lambda request: said.append(request.url) if request.url != path.as_uri() else None)
        view.goto(path.as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [view.locator(".pair").first.locator("> div").nth(n).bounding_box() for n in (0, 1)]
        added = view.evaluate("getComputedStyle(document.querySelector('.diff .add')).backgroundColor")
        body = view.evaluate("getComputedStyle(document.body).backgroundColor")
        browser.close()
    assert said == []
    beside, below = boxes[1]["x"] > boxes[0]["x"], boxes[1]["y"] > boxes[0]["y"]
    assert (beside, below) == ((True, False) if width == 1280 else (False, True))
    assert added != body
    assert body == ("rgb(246, 247, 249)" if scheme == "light" else "rgb(17, 20, 24)")
