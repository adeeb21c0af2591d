"""How the chat page fits and reads: on a phone, in both themes, with a keyboard, without motion."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

TOKENS = [
    ["It", -0.01, [["It", -0.01]]],
    [" is", -0.8, []],
    ["\n", -2.0, []],
    ["rare", -9.0, [["often", -0.1]]],
]
WIDE = "a" * 300
REPLY = f"""A [link](https://example.com/{WIDE}) and `{WIDE}`, {WIDE}.

> quoted

| {" | ".join("column" for _ in range(12))} |
|{"---|" * 12}

```python
{WIDE}
```
"""
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "text": WIDE},
    {
        "role": "assistant",
        "parts": [
            {"type": "text", "text": REPLY, "tokens": []},
            {"type": "tool_call", "name": "calculator", "input": WIDE},
            {"type": "tool_result", "text": WIDE},
            {"type": "text", "text": "It is\nrare", "tokens": TOKENS},
        ],
        "tokens": 4,
        "reason": "length",
        "seconds": 1.5,
        "first": 0.5,
    },
]
KEEP = f"localStorage.setItem('trueformer.chat', {json.dumps(json.dumps(MESSAGES))})"


@pytest.fixture(params=["light", "dark"])
def themed(browser: Browser, server_url: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(color_scheme=request.param, reduced_motion="reduce")
    context.add_init_script(f"localStorage.getItem('trueformer.chat') ?? {KEEP}")
    tab = context.new_page()
    tab.goto(server_url)
    expect(tab.locator("#model option")).not_to_have_count(0)
    yield tab
    context.close()


@pytest.fixture(params=[(360, 740), (390, 844)], ids=["360", "390"])
def phone(browser: Browser, server_url: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=True, is_mobile=True)
    context.add_init_script(f"localStorage.getItem('trueformer.chat') ?? {KEEP}")
    tab = context.new_page()
    tab.goto(server_url)
    expect(tab.locator("#model option")).not_to_have_count(0)
    yield tab
    context.close()


def controls(page: Page) -> list[Locator]:
    found = page.locator("button, input, select, textarea").all()
    return [control for control in found if control.is_visible()]


def check_fit(page: Page) -> None:
    """Nothing is wider than the window, and what can be touched is large enough to be."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#scroller").evaluate("e => e.scrollWidth <= e.clientWidth")
    for control in controls(page):
        box = control.bounding_box()
        assert box is not None
        assert box["height"] >= 40, control.evaluate("e => e.outerHTML")
        assert control.get_attribute("type") == "range" or box["width"] >= 40
        size = control.evaluate("e => e.matches('button') ? 16 : parseFloat(getComputedStyle(e).fontSize)")
        assert size >= 16, "phones zoom in on smaller letters to be typed"


def test_a_phone_shows_all_without_scrolling_sideways(phone: Page) -> None:
    check_fit(phone)
    phone.get_by_label("Token probabilities").tap()
    phone.locator(".token").last.tap()
    tip = phone.locator("#tip").bounding_box()
    assert tip is not None
    assert tip["x"] >= 0
    assert tip["x"] + tip["width"] <= phone.evaluate("innerWidth")
    check_fit(phone)
    phone.get_by_label("Edit the message").tap()
    check_fit(phone)
    phone.get_by_label("New chat").tap()
    expect(phone.locator("#examples button").first).to_be_visible()
    check_fit(phone)


def test_the_drawer_on_a_phone_holds_the_focus_and_closes(phone: Page) -> None:
    button, drawer = phone.get_by_role("button", name="Settings", exact=True), phone.locator("#settings")
    button.tap()
    expect(drawer).to_be_visible()
    assert drawer.evaluate("e => e.matches(':modal')")
    assert drawer.evaluate("e => e.scrollWidth <= e.clientWidth")
    for control in drawer.locator("button, input, textarea").all():
        box = control.bounding_box()
        assert box is not None
        assert box["height"] >= 40
    phone.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    button.tap()
    phone.touchscreen.tap(2, 300)
    expect(drawer).to_be_hidden()


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


def check_contrast(page: Page, *selectors: str) -> None:
    for selector in selectors:
        expect(page.locator(selector).first).to_be_visible()
        assert page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector


def test_text_is_readable_in_both_themes(themed: Page) -> None:
    check_contrast(
        themed, "header h1", "#model", "#hint", "#hint kbd", ".bubble", ".reply p", ".reply a", ".address"
    )
    check_contrast(
        themed,
        ".usage",
        "blockquote p",
        ".code code",
        ".code-head span",
        ".asked",
        ".answered",
        ".tool-head span",
    )
    check_contrast(themed, "#send", "th")
    themed.get_by_label("Token probabilities").click()
    themed.locator(".token").last.hover()
    check_contrast(
        themed,
        ".shade-2",
        ".shade-3",
        ".shade-5",
        "#legend span",
        "#tip b",
        "#tip td:last-child",
        "#tip code",
    )
    themed.get_by_role("button", name="Settings", exact=True).click()
    check_contrast(themed, "#settings .says", "#settings label", "#settings output", "#system", "#reset")
    themed.route("**/chat/completions", lambda route: route.abort())
    themed.get_by_label("Message", exact=True).fill("Hello")
    check_contrast(themed, "#send", "#box")
    themed.keyboard.press("Enter")
    check_contrast(themed, ".notice p", ".notice button")
    themed.get_by_label("New chat").click()
    check_contrast(themed, "#welcome h2", "#about", "#examples button", ".notice.calm p")


def test_the_theme_is_the_systems_until_one_is_chosen_and_then_remembered(themed: Page) -> None:
    background = "() => getComputedStyle(document.documentElement).backgroundColor"
    system = themed.evaluate(background)
    themed.get_by_label("Light or dark").click()
    chosen = themed.evaluate(background)
    assert chosen != system
    themed.reload()
    assert themed.evaluate(background) == chosen


def test_nothing_moves_where_that_is_asked_for(themed: Page) -> None:
    themed.get_by_role("button", name="Settings", exact=True).click()
    assert themed.evaluate("document.getAnimations().length") == 0


def test_everything_has_a_name_and_can_be_reached_by_keyboard(themed: Page) -> None:
    themed.get_by_role("button", name="Settings", exact=True).click()
    named = "e => (e.ariaLabel || e.labels?.[0]?.textContent || e.textContent).trim().length > 0"
    for control in controls(themed):
        assert control.evaluate(named), control.evaluate("e => e.outerHTML")
    themed.get_by_label("Message", exact=True).fill("so that it can be sent")
    expected = sum(control.is_enabled() for control in controls(themed))
    reached: set[str] = set()
    outline = """() => {
      const style = (element) => getComputedStyle(element);
      const focused = document.activeElement;
      return style(focused).outlineStyle !== "none" || style(focused.closest("form")).boxShadow !== "none";
    }"""
    for _ in range(
        expected + 12
    ):  # code and what tools said can be scrolled by keyboard, so they are stops, too
        themed.keyboard.press("Tab")
        if themed.evaluate("document.activeElement.matches('button, input, select, textarea')"):
            reached.add(themed.evaluate("document.activeElement.outerHTML"))
            assert themed.evaluate(outline), "the focus can be seen"
    assert len(reached) == expected
