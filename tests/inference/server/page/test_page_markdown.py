"""Markdown in the page: what it becomes, and that nothing a model says becomes more than that.

The page's own function is called in Chromium, under the page's own policy.
"""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

# What may come out, with its attributes. `svg` and `use` are the copy button's drawing, which the page wrote.
PLAIN = "p br em strong hr ul li blockquote table thead tbody tr h3 h4 h5 h6 code"
ALLOWED: dict[str, set[str]] = {
    **{tag: set() for tag in PLAIN.split()},
    "ol": {"start"},
    "th": {"class"},
    "td": {"class"},
    "div": {"class", "tabindex"},
    "pre": {"tabindex"},
    "span": {"class"},
    "a": {"href", "title", "target", "rel"},
    "button": {"type", "class", "data-act", "aria-label", "title"},
    "svg": {"aria-hidden"},
    "use": {"href"},
}

# What is rendered, put into the document, as elements with their attributes, and how deep they go.
RENDER = """text => {
  const place = document.getElementById("messages");
  const started = performance.now();
  place.replaceChildren(window.trueformer.renderMarkdown(text));
  const seconds = (performance.now() - started) / 1000;
  const found = [];
  let deepest = 0;
  const walk = (node, depth) => {
    deepest = Math.max(deepest, depth);
    for (const child of node.children) {
      const attributes = Object.fromEntries([...child.attributes].map(({name, value}) => [name, value]));
      if (found.length < 5000) found.push([child.localName, attributes]);
      walk(child, depth + 1);
    }
  };
  walk(place, 0);
  const [said, html] = [place.textContent.slice(0, 300_000), place.innerHTML.slice(0, 5000)];
  place.replaceChildren();
  return {found, deepest, seconds, text: said, html};
}"""


def check(page: Page, text: str) -> dict[str, Any]:
    """Renders, and finds nothing that is not allowed."""
    answer = page.evaluate(RENDER, text)
    for tag, attributes in answer["found"]:
        assert tag in ALLOWED, tag
        assert set(attributes) <= ALLOWED[tag], (tag, attributes)
        if tag == "a":
            assert attributes["href"].split(":")[0] in ("http", "https", "mailto"), attributes
            assert (attributes["rel"], attributes["target"]) == ("noopener noreferrer", "_blank")
        if tag == "use":
            assert attributes["href"] == "#icon-copy"
    assert answer["deepest"] <= 60
    return answer


SUBSET = {
    "one\ntwo": "<p>one<br>two</p>",
    "one\n\ntwo": "<p>one</p><p>two</p>",
    "# A *b*": "<h3>A <em>b</em></h3>",
    "##### A": "<h6>A</h6>",
    "**a** __b__ *c* _d_": "<p><strong>a</strong> <strong>b</strong> <em>c</em> <em>d</em></p>",
    "***e***": "<p><em><strong>e</strong></em></p>",
    "**a *b* c**": "<p><strong>a <em>b</em> c</strong></p>",
    "6*7*8 snake_case_name 2 * 3 **": "<p>6*7*8 snake_case_name 2 * 3 **</p>",
    "`a*b*` ``c`d``": "<p><code>a*b*</code> <code>c`d</code></p>",
    r"\*a\* \<b> 1\. \a": r"<p>*a* &lt;b&gt; 1. \a</p>",
    "- a\n- b\n  - c\n- d": "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>",
    "1. a\n\n2. b\n   more": "<ol><li>a</li><li>b<br>more</li></ol>",
    "3) a\n4) b": '<ol start="3"><li>a</li><li>b</li></ol>',
    "> a\n> b\n\nc": "<blockquote><p>a<br>b</p></blockquote><p>c</p>",
    "a\n\n---\nb": "<p>a</p><hr><p>b</p>",
    "text\n1984. was a year": "<p>text<br>1984. was a year</p>",
    "&lt; &amp; <b>": "<p>&amp;lt; &amp;amp; &lt;b&gt;</p>",
}


@pytest.mark.parametrize("text", SUBSET, ids=repr)
def test_markdown_becomes_elements(shared_page: Page, text: str) -> None:
    assert check(shared_page, text)["html"] == SUBSET[text]


def test_tables_and_code(shared_page: Page) -> None:
    table = check(shared_page, "| a | b |\n|---|--:|\n| 1 | **2** |\n| 3 | 4 | 5 |\nafter")
    tags = [tag for tag, _ in table["found"]]
    assert (tags.count("tr"), tags.count("th"), tags.count("td"), tags.count("strong")) == (3, 2, 4, 1)
    code = check(shared_page, "```py\nif a < b:\n    *c*\n")
    assert "<code>if a &lt; b:\n    *c*\n</code>" in str(code["html"]), "a fence that is still open"
    assert "<span>py</span>" in str(code["html"])


def test_links_say_where_they_lead_and_pictures_are_links(shared_page: Page) -> None:
    said = check(
        shared_page,
        "[a](https://x.org/y) ![b](http://z.org/i.png) https://w.org/p. <mailto:me@v.org> [c](https://good.org@bad.org)",
    )
    links = [attributes["href"] for tag, attributes in said["found"] if tag == "a"]
    expected = [
        "https://x.org/y",
        "http://z.org/i.png",
        "https://w.org/p",
        "mailto:me@v.org",
        "https://good.org@bad.org/",
    ]
    assert links == expected
    for words in ("a (x.org)", "image: b (z.org)", "https://w.org/p.", "mailto:me@v.org", "c (bad.org)"):
        assert words in str(said["text"])
    nested = check(shared_page, "[a [b](https://x.org) c](https://y.org) [https://z.org/](https://w.org)")
    links = [attributes["href"] for tag, attributes in nested["found"] if tag == "a"]
    assert links == ["https://x.org/", "https://y.org/", "https://w.org/"], "none within another"
    assert "https://z.org/ (w.org)" in nested["text"], "a label cannot pass for the address"


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<svg onload=alert(1)><style>*{display:none}</style></svg>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe><base href=//evil.example><meta http-equiv=refresh>",
    "[x](javascript:alert(1)) [x](JaVaScRiPt:alert(1)) [x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1)) [x](\x01javascript:alert(1)) <javascript:alert(1)>",
    "[x](data:text/html,<script>alert(1)</script>) [x](vbscript:x) [x](file:///etc/passwd) [x](blob:http://a/b)",
    "![x](https://evil.example/pixel.png) ![](//evil.example/a.png)",
    "![x](data:image/svg+xml,<svg/onload=alert(1)>)",
    '[x](https://evil.example/"onmouseover="alert(1)) [x](https://e.example "t\\" onload=alert(1)")',
    '<https://evil.example/<script>> <javascript:alert(1)> <mailto:a@b"onclick=alert(1)>',
    '``` "><img src=x onerror=alert(1)>\n</code></pre><script>alert(1)</script>',
    "| <img src=x onerror=alert(1)> |\n|---|\n| <script>alert(1)</script> |",
    "# <img src=x onerror=alert(1)>\n> <script>alert(1)</script>\n- <iframe src=//evil.example>",
    "<!-- --><![CDATA[<script>alert(1)</script>]]><?php ?>&lt;script&gt;",
    "[a](https://x.example/\u202egpj.exe) \u202e\u0000\ufeff\ud83d",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(page: Page, text: str) -> None:
    check(page, text)
    page.wait_for_timeout(50)  # for a request, which the fixture would report


REPEATED = [
    "[",
    "]",
    "](",
    "![",
    "[a](",
    "*",
    "* ",
    "*a ",
    "*a*",
    "**a _b ",
    "_",
    "`",
    "` `` ",
    ">",
    "> ",
    ">\n",
    "#",
    "- ",
    "-\n",
]
REPEATED += [
    "1. ",
    "  - a\n",
    "|",
    "|a|\n|-|\n",
    "a|b\n",
    "```\n",
    "~~~",
    "\\",
    "<",
    "<https://",
    "http://[",
    "https://a.b/",
    "\n",
]
REPEATED += [
    " ",
    "[a](b",
    '](a "',
    "a\n\n",
    "&amp;",
    "((((",
    "[x](https://a.b) ",
    "**a",
    "a** ",
    "\t",
    "- - ",
    "===",
]


@pytest.mark.parametrize("piece", REPEATED, ids=repr)
def test_a_hundred_thousand_characters_of_anything_take_no_time(shared_page: Page, piece: str) -> None:
    answer = check(shared_page, (piece * 100_000)[:100_000])
    assert answer["seconds"] < 3, "measured: below 0.3 s each; squared time would be minutes"


# What begins so often, and then ends so often: bounded nesting, and no end that looks through all beginnings.
NESTED = [
    ("*a ", "b* "),
    ("**a ", "b** "),
    ("*a ", "b_ "),
    ("[a ", "](https://a.b) "),
    ("> ", "x\n"),
    ("- ", "x\n"),
]


@pytest.mark.parametrize(("begin", "end"), NESTED, ids=repr)
def test_deep_nesting_is_flat_and_takes_no_time(shared_page: Page, begin: str, end: str) -> None:
    answer = check(shared_page, begin * 15_000 + end * 8_000)
    assert answer["seconds"] < 3


def test_what_is_beyond_the_limit_is_still_there(shared_page: Page) -> None:
    assert str(check(shared_page, "a" * 200_000 + "**b**")["text"]).endswith("a**b**")


PIECES = [
    "*",
    "**",
    "_",
    "`",
    "```",
    "\n",
    "\n\n",
    " ",
    "  ",
    "- ",
    "1. ",
    "> ",
    "# ",
    "|",
    "|-|",
    "[",
    "](",
    ")",
    "![",
    "\\",
]
PIECES += ["http://a.b", "javascript:", "<b>", "a", "é", "😀", "---", "onerror="]


@settings(max_examples=250, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_no_text_makes_more_than_is_allowed_and_no_letter_is_lost(
    shared_page: Page, pieces: list[str]
) -> None:
    said = str(check(shared_page, "".join(pieces))["text"])
    fenced = any(
        piece.startswith("```") for piece in pieces
    )  # a long word after a fence is cut, as a language
    for letter in "é😀":
        # Addresses of links escape letters, and may be left out for the host.
        linked = "](" in pieces or "http://a.b" in pieces
        assert linked or fenced or said.count(letter) == pieces.count(letter)


STREAM = """async ([text, cuts]) => {
  const bytes = new TextEncoder().encode(text);
  const ends = [...cuts, bytes.length];
  const body = new ReadableStream({ start(controller) {
    let at = 0;
    for (const end of ends) { controller.enqueue(bytes.slice(at, end)); at = Math.max(at, end); }
    controller.close();
  } });
  const events = [];
  for await (const event of window.trueformer.readEvents(body)) events.push(event);
  return events;
}"""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("aé😀 :日{}\n", min_size=1, max_size=8), max_size=5), st.data())
def test_events_are_the_same_wherever_the_bytes_are_cut(
    shared_page: Page, said: list[str], data: st.DataObject
) -> None:
    newline = data.draw(st.sampled_from(["\n", "\r\n"]))
    events = [newline.join(f"data: {line}" for line in event.split("\n")) for event in said]
    text = "".join(f": a comment{newline}{event}{newline}{newline}" for event in events)
    size = len(text.encode())
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=12)))
    assert shared_page.evaluate(STREAM, [text, cuts]) == said


def test_a_reply_is_rendered_at_every_moment_of_its_writing(shared_page: Page) -> None:
    text = "A **b** `c` [d](https://e.org)\n\n```py\nx = 1\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    text += "\n> q\n- l\n  - m\n"
    for start, end in itertools.pairwise(range(0, len(text) + 1)):
        check(shared_page, text[:end])
        check(shared_page, text[start:])
