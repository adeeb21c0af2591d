"""`trueformer hunt web` as a person has it: the real command, a real Chromium, a case from its start to its solve."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from trueformer.hunt import record as records
from trueformer.hunt.bug import bug
from trueformer.hunt.web.page import content_security_policy, page

CASE = "crowded-micro-steps"
FILE = "trueformer/training/accumulate.py"
PLANTED, SOUND = "(total / max(1, count)).backward()", "(total / total_tokens).backward()"
WORK = 120_000  # milliseconds that an experiment or a check may take here
MARK = "HUNT_WEB_TEST"  # a variable that all processes of a server inherit


def begin(folder: Path, mark: str) -> tuple[subprocess.Popen[str], str]:
    """The command, and the address that it shows."""
    command = [sys.executable, "-m", "trueformer", "hunt", "web", "--port", "0", "--folder", str(folder)]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), MARK: mark}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+\?key=\S+", line)
    assert found, line + process.communicate()[0]
    return process, found[0]


def marked(mark: str) -> list[int]:
    """The processes that a server with this mark has left."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the state of these tests' hunts."""
    folder = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        yield folder


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """The address of a server, which ends well when it is interrupted."""
    process, url = begin(home / "hunts", "module")
    yield url
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 0


@pytest.fixture
def tab(browser: Browser, url: str) -> Iterator[Page]:
    """A page of that server in a fresh profile; at the end nobody else was asked for anything, and no script failed."""
    with opened(browser, url, viewport={"width": 1440, "height": 900}) as tab:
        yield tab


@contextmanager
def opened(browser: Browser, url: str, **options: object) -> Iterator[Page]:
    """A tab with these properties."""
    context = browser.new_context(reduced_motion="reduce", **options)
    seen: list[str] = []
    context.on("request", lambda request: seen.append(request.url))
    tab = context.new_page()
    tab.on("pageerror", lambda error: seen.append(str(error)))
    tab.on("console", lambda message: seen.append(message.text) if "Polic" in message.text else None)
    tab.goto(url)
    yield tab
    context.close()
    assert [what for what in seen if not what.startswith((url.split("?")[0], "data:"))] == []


def go(tab: Page, name: str) -> None:
    """To a hunt."""
    tab.goto(re.sub(r"(http://[^/]+).*", rf"\1/hunts/{name}", tab.url))
    expect(tab.locator("#report h3").first).to_be_visible()


def open_file(tab: Page, path: str = FILE) -> None:
    tab.locator(f'[data-path="{path}"]').click()
    expect(tab.locator("#path")).to_have_text(path)


def editor(tab: Page, path: str = FILE):
    return tab.get_by_label(f"Text of {path}")


SELECT = """(box, [text, from]) => {
  const at = box.value.indexOf(text);
  box.focus();
  box.setSelectionRange(at + from, at + text.length);
}"""


def put_caret(tab: Page, text: str) -> None:
    """Behind some text."""
    editor(tab).evaluate(SELECT, [text, len(text)])


def mend(tab: Page) -> None:
    """Types the repair in the place of the fault."""
    editor(tab).evaluate(SELECT, [PLANTED, 0])
    tab.keyboard.insert_text(SOUND)


def test_from_the_list_to_a_solve(tab: Page, home: Path) -> None:
    tab.locator("#filter [name=component]").select_option("loop")
    tab.locator("#filter [name=level]").select_option("easy")
    expect(tab.locator("#counted")).to_contain_text("of")
    tab.get_by_label(f"Start {CASE}").click()
    tab.get_by_role("dialog").get_by_label("Minutes").fill("30")
    tab.get_by_role("button", name="Start", exact=True).last.click()
    expect(tab.locator("#making-says")).to_contain_text("Planting")
    tab.wait_for_url("**/hunts/*", timeout=WORK)

    expect(tab.get_by_role("heading", name=bug(CASE).title)).to_be_visible()
    expect(tab.locator("#clock")).to_have_text(re.compile(r"^(29|30):\d\d left$"))
    expect(tab.locator("#worth")).to_have_text("worth 10 of 10 points")
    expect(tab.locator("#report td", has_text="gradient_ratio")).to_be_visible()
    for figure in tab.locator("#report figure img").all():
        figure.scroll_into_view_if_needed()
        expect(figure).to_have_js_property("complete", True)
        assert figure.evaluate("e => e.naturalWidth") > 300
    reported = [figure.get_attribute("src") for figure in tab.locator("#report figure img").all()]
    assert len(reported) == 2
    before = tab.request.get(tab.url.split("/hunts")[0] + reported[0]).body()

    tab.locator("#check").click()
    expect(tab.locator("#checked")).to_contain_text("Grading")
    tab.locator("#hint").click()
    expect(tab.locator("#sure-says")).to_contain_text("costs 1 point of")
    tab.get_by_role("button", name="Take the hint").click()
    expect(tab.locator("#hints li")).to_have_text(bug(CASE).hints[0])
    expect(tab.locator("#worth")).to_have_text("worth 9 of 10 points")
    expect(tab.locator("#checked .verdict")).to_contain_text("Not solved: 0 of 1 repaired", timeout=WORK)
    expect(tab.locator("#checked li")).not_to_have_count(0)
    (
        expect(tab.locator("#worth")).to_have_text("worth 9 of 10 points"),
        "a hint during a check is not forgotten",
    )

    open_file(tab)
    mend(tab)
    expect(tab.locator("#saved")).to_have_text("unsaved")
    expect(tab.locator(f'[data-path="{FILE}"] .unsaved')).to_be_visible()
    tab.keyboard.press("Control+s")
    expect(tab.locator("#saved")).to_have_text("saved")
    expect(tab.locator(f'[data-path="{FILE}"] .changed')).to_be_visible()
    workspace = Path(records.every()[-1].workspace)
    assert SOUND in (workspace / FILE).read_text()
    tab.get_by_role("button", name="Changes").click()
    expect(tab.locator("#changes .removed")).to_contain_text(PLANTED)
    expect(tab.locator("#changes .added")).to_contain_text(SOUND)

    tab.get_by_label("Seed").fill("7")
    tab.locator("#run").click()
    expect(tab.locator("#output")).to_contain_text("accumulate 1, seed 7", timeout=WORK)
    expect(tab.locator("#run-says")).to_contain_text("done", timeout=WORK)
    row = tab.locator("#numbers tr", has=tab.get_by_role("rowheader", name="gradient ratio"))
    now, here, sound = (float(text) for text in row.locator("td").all_text_contents())
    assert abs(now - sound) < 0.1
    assert here > 3
    expect(tab.locator("#figures img")).to_have_count(2)
    drawn = tab.request.get(
        tab.url.split("/hunts")[0] + tab.locator("#figures img").first.get_attribute("src")
    )
    assert drawn.body().startswith(b"\x89PNG")
    assert drawn.body() != before
    again = tab.request.get(tab.url.split("/hunts")[0] + reported[0]).body()
    assert again == before, "the report keeps its own figures"

    open_file(tab)
    tab.keyboard.press("Control+Enter")
    expect(tab.locator("#checked .verdict")).to_contain_text("Solved: all", timeout=WORK)
    expect(tab.locator("#checked")).to_contain_text("9 of 10 points")
    expect(tab.locator("#checked")).to_contain_text("1 hint")
    expect(tab.locator("#clock")).to_contain_text("solved in")
    tab.get_by_role("button", name="Show the original repair and the lesson").click()
    expect(tab.locator("#answers")).to_contain_text("Gradients of micro-batches are added", timeout=WORK)
    expect(tab.locator("#answers .diff .added").first).to_be_visible()
    expect(tab.locator("#answers")).to_contain_text(bug(CASE).laws[0])
    tab.reload()
    expect(tab.locator("#answers")).to_contain_text("Gradients of micro-batches are added", timeout=WORK)
    expect(tab.locator("#checked .verdict")).to_contain_text("Solved")
    tab.get_by_role("link", name="trueformer hunt").click()
    expect(tab.locator("#totals")).to_have_text("9 points · solved: 1 easy · streak 1")


@pytest.fixture(scope="module")
def hunt(make, home: Path) -> records.Record:
    """A hunt under way, of a drawn case."""
    return make(home / "fast", CASE, shown=False)


@pytest.fixture
def fresh(hunt: records.Record) -> Iterator[Path]:
    """Its workspace, as it was handed out."""
    file = Path(hunt.workspace) / FILE
    file.write_text(hunt.sources["training/accumulate.py"])
    yield Path(hunt.workspace)
    file.write_text(hunt.sources["training/accumulate.py"])


def test_a_drawn_case_has_no_name_on_the_page(tab: Page, hunt: records.Record) -> None:
    expect(tab.locator("#hunts")).to_contain_text("drawn, 1 bug")
    go(tab, hunt.name)
    expect(tab.locator("#title")).to_have_text("a drawn case")
    assert CASE not in tab.content()


def test_typing_keeps_indentation_and_can_be_undone(tab: Page, hunt: records.Record, fresh: Path) -> None:
    go(tab, hunt.name)
    open_file(tab)
    box = editor(tab)
    before = box.input_value()
    line = next(line for line in before.splitlines() if line.startswith("    ") and line.endswith(":"))
    put_caret(tab, line)
    tab.keyboard.press("Enter")
    tab.keyboard.type("x = 1")
    tab.keyboard.press("Tab")
    after = box.input_value()
    indent = len(line) - len(line.lstrip()) + 4
    assert f"{line}\n{' ' * indent}x = 1" in after
    column = indent + 5
    assert f"x = 1{' ' * (4 - column % 4)}\n" in after
    tab.keyboard.press("Shift+Tab")
    assert f"{line}\n{' ' * (indent - 4)}x = 1" in box.input_value()
    tab.keyboard.press("Control+a")
    tab.keyboard.press("Tab")
    assert all(row.startswith("    ") for row in box.input_value().splitlines() if row.strip())
    tab.keyboard.press("Shift+Tab")
    for _ in range(20):
        tab.keyboard.press("Control+z")
    assert box.input_value() == before
    expect(tab.locator("#saved")).to_have_text("")
    tab.keyboard.press("Escape")
    tab.keyboard.press("Tab")
    expect(box).not_to_be_focused()


def test_colours_lie_exactly_under_the_text(tab: Page, hunt: records.Record, fresh: Path) -> None:
    go(tab, hunt.name)
    open_file(tab)
    for text in ("", '\n\nx = """a\n# b\n""" @ c\n', "def f(): # é\n" * 700):
        editor(tab).fill(text)
        assert tab.locator(".editor:not([hidden]) code").evaluate("e => e.textContent") == f"{text}\n"
    sizes = tab.locator(".editor:not([hidden]) .sheets").evaluate(
        "e => [...e.children].map(c => [c.scrollWidth, c.scrollHeight, c.offsetWidth, c.offsetHeight].join())"
    )
    assert sizes[0] == sizes[1]
    expect(tab.locator(".editor:not([hidden]) .numbers")).to_contain_text("701")
    seconds = editor(tab).evaluate(
        """box => { const begun = performance.now();
        for (let i = 0; i < 20; i += 1) { box.value = `a${box.value}`; box.dispatchEvent(new Event("input")); }
        return (performance.now() - begun) / 20e3; }"""
    )
    assert seconds < 0.1, "a key in a file of 700 lines; measured: 0.01"
    tab.locator("#restore").click()
    expect(tab.locator("#restore")).to_be_disabled()


def test_python_has_its_colours(tab: Page) -> None:
    text = [
        "@cache  # once",
        "def f(x: int) -> None:",
        '    """A text',
        "    that # goes on",
        '    """ + 1',
        "    return a @ b.len or r'\\'' + f\"{x}\" # 'end",
        'x1 = 0x1F + 1_0.5e-3 if not True else "',
    ]
    found = tab.evaluate(
        """lines => { let open = ""; return lines.map((line) => {
        const coloured = window.trueformer.colourLine(line, open); open = coloured.open;
        return coloured.pieces.filter(([kind, text]) => kind && text).map((piece) => piece.join(" ")); }); }""",
        text,
    )
    assert found == [
        ["decorator @cache", "comment # once"],
        ["keyword def", "defined f", "builtin int", "constant None"],
        ['string """A text'],
        ["string     that # goes on"],
        ['string     """', "number 1"],
        ["keyword return", "keyword or", "string r'\\''", 'string f"{x}"', "comment # 'end"],
        [
            "number 0x1F",
            "number 1_0.5e-3",
            "keyword if",
            "keyword not",
            "constant True",
            "keyword else",
            'string "',
        ],
    ]


def test_what_another_editor_wrote_is_never_lost(tab: Page, hunt: records.Record, fresh: Path) -> None:
    go(tab, hunt.name)
    open_file(tab)
    put_caret(tab, "")
    tab.keyboard.insert_text("# mine\n")
    (fresh / FILE).write_text("# another's\n")
    tab.keyboard.press("Control+s")
    expect(tab.locator("#conflict")).to_contain_text("was changed on disk")
    assert (fresh / FILE).read_text() == "# another's\n"
    assert editor(tab).input_value().startswith("# mine\n")
    tab.locator("#check").click()
    expect(tab.locator("#conflict")).to_contain_text("was changed on disk")
    expect(tab.locator("#checked")).to_be_empty()
    tab.get_by_role("button", name="Save mine over it").click()
    expect(tab.locator("#conflict")).to_be_empty()
    assert (fresh / FILE).read_text().startswith("# mine\n")
    (fresh / FILE).write_text("# once more\n")
    tab.evaluate("dispatchEvent(new Event('focus'))")
    expect(editor(tab)).to_have_value("# once more\n")


def test_unsaved_text_is_not_left_without_a_question(tab: Page, hunt: records.Record, fresh: Path) -> None:
    go(tab, hunt.name)
    open_file(tab)
    put_caret(tab, "")
    tab.keyboard.insert_text("# mine\n")
    open_file(tab, "run.py")
    open_file(tab)
    assert editor(tab).input_value().startswith("# mine\n"), "another file in between"
    asked: list[str] = []
    tab.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    tab.get_by_role("link", name="trueformer hunt").click()
    tab.wait_for_timeout(300)
    assert asked == ["beforeunload"]
    assert editor(tab).input_value().startswith("# mine\n")
    tab.once("dialog", lambda dialog: dialog.accept())
    tab.reload()


def test_a_run_is_shown_as_it_goes_and_stopped(tab: Page, hunt: records.Record, fresh: Path) -> None:
    before = (fresh / "run.py").read_text()
    (fresh / "run.py").write_text(
        "import time\nfor i in range(600):\n    print('step', i, flush=True)\n    time.sleep(0.1)\n"
    )
    go(tab, hunt.name)
    tab.locator("#run").click()
    expect(tab.locator("#output")).to_contain_text("step 3")
    tab.reload()
    expect(tab.locator("#output")).to_contain_text("step 9"), "it goes on, and is found again"
    tab.locator("#stop-run").click()
    expect(tab.locator("#run-says")).to_have_text("stopped")
    (fresh / "run.py").write_text(before)


# The contrast of an element's text with what is under it, as WCAG 2 has it; the browser mixes the colours.
CONTRAST = """element => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (colour) => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); };
  const under = [];
  for (let e = element; e; e = e.parentElement) under.unshift(getComputedStyle(e).backgroundColor);
  const luminance = () => {
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
      .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  under.forEach(paint);
  const below = luminance();
  paint(getComputedStyle(element).color);
  const [light, dark] = [luminance(), below].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}"""
COLOURS = (".keyword", ".string", ".number", ".constant", ".defined", ".builtin", ".comment", ".decorator")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_themes(
    browser: Browser, url: str, hunt: records.Record, fresh: Path, scheme: str
) -> None:
    (fresh / FILE).write_text('@cache\ndef f(x: int = 1):  # why\n    return "a", None\n')
    with opened(browser, url, color_scheme=scheme) as tab:
        for selector in (
            "#totals",
            "#cases .what",
            "#cases .says",
            ".tag.easy",
            ".tag.brutal",
            ".plain.strong",
        ):
            assert tab.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector
        go(tab, hunt.name)
        for selector in (
            "#title",
            "#clock",
            "#worth",
            "#views button",
            "#tree h3",
            "#tree button",
            "#report p",
        ):
            assert tab.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector
        open_file(tab)
        for selector in (*COLOURS, ".numbers", "#path", ".keys"):
            assert tab.locator(f"#code {selector}").first.evaluate(CONTRAST) >= 4.5, selector
        tab.get_by_role("button", name="Changes").click()
        for selector in (".added", ".removed", ".place"):
            expect(tab.locator(f"#changes {selector}").first).to_be_visible()
            assert tab.locator(f"#changes {selector}").first.evaluate(CONTRAST) >= 4.5, selector


def check_fit(tab: Page) -> None:
    """Nothing is wider than the window, and what can be touched is large enough to be."""
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for control in tab.locator("button, input:not([type=checkbox]), select").all():
        if control.is_visible():
            box = control.bounding_box()
            assert box is not None
            assert box["height"] >= 39.5, control.evaluate("e => e.outerHTML")


def test_a_phone_has_every_view(browser: Browser, url: str, hunt: records.Record, fresh: Path) -> None:
    with opened(browser, url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True) as tab:
        expect(tab.locator("#cases li").first).to_be_visible()
        check_fit(tab)
        go(tab, hunt.name)
        views = {
            "Files": "#find-file",
            "Report": "#report h3",
            "Code": "#path",
            "Changes": "#changes",
            "Work": "#check",
        }
        for name, shown in views.items():
            tab.locator("#views").get_by_role("button", name=name).tap()
            expect(tab.locator(shown).first).to_be_visible()
            others = [other for other in views.values() if other != shown]
            assert [other for other in others if tab.locator(other).first.is_visible()] == []
            check_fit(tab)
        tab.locator("#views").get_by_role("button", name="Files").tap()
        tab.locator("#find-file").fill("accumulate")
        tab.locator(f'[data-path="{FILE}"]').tap()
        expect(editor(tab)).to_be_visible()
        check_fit(tab)


def test_the_page_is_one_piece_and_never_makes_markup_of_text() -> None:
    assert not re.search(r"""(src|href)=["'](?!data:|#|/")""", page())
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|DOMParser|createContextualFragment|document\.write"
    assert not re.search(unsafe + r"|eval\(|Function\(", page())
    assert "unsafe" not in content_security_policy()


def test_ctrl_c_leaves_no_processes(make, home: Path, tmp_path: Path) -> None:
    record = make(tmp_path / "project", CASE)
    (tmp_path / "project" / "run.py").write_text("import time\ntime.sleep(100)\n")
    process, url = begin(tmp_path / "hunts", record.name)
    with httpx.Client(base_url=url.split("/?")[0], follow_redirects=True) as client:
        assert client.get(url).status_code == 200
        for kind in ("run", "check"):
            assert client.post(f"/api/hunts/{record.name}/{kind}", json={}).status_code == 200
        grading = 0
        while grading < 4:  # the server, the run, the check and its grader
            grading = len(marked(record.name))
            time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 0
    assert marked(record.name) == []
