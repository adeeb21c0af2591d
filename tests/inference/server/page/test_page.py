"""The chat page in a real browser: what it asks the server, shows, keeps, and how it meets trouble.

The model behind `server_url` says anything: behaviour is tested, not what is said. What a tiny model cannot
be made to do (call a tool, fail in the middle of a stream) is played to the browser by `page.route`.
"""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from trueformer.inference.server.page import content_security_policy, page, script

USER, TOOL_REPLY = (
    {"role": "user", "text": "What is 6 * 7?"},
    {
        "role": "assistant",
        "parts": [
            {"type": "text", "text": "It is ", "tokens": []},
            {"type": "tool_call", "name": "calculator", "input": "6*7"},
            {"type": "tool_result", "text": "42"},
            {"type": "text", "text": "**42**.", "tokens": []},
        ],
    },
)


def chunk(delta: dict[str, Any], tokens: list[dict[str, Any]] | None = None, end: str | None = None) -> str:
    logprobs = {"content": tokens} if tokens else None
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": end}
    return f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"


def ask(page: Page, text: str) -> None:
    """Sends a message, and waits until the answer has ended."""
    before = page.locator(".user").count()
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")
    expect(page.locator(".user")).to_have_count(before + 1)
    expect(page.locator("[aria-busy]")).to_have_count(0, timeout=60_000)


def requests_of(page: Page) -> list[dict[str, Any]]:
    """What the page asks for, as it does."""
    asked: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.url.endswith("/chat/completions"):
            asked.append(json.loads(request.post_data or "null"))

    page.on("request", note)
    return asked


def keep_slow(page: Page) -> None:
    """The network brings so little at a time that a reply takes seconds."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": 8_000, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", limits)


def begin(page: Page, messages: list[dict[str, Any]]) -> None:
    """Comes back to a conversation that the browser has kept."""
    page.evaluate("messages => localStorage.setItem('trueformer.chat', JSON.stringify(messages))", messages)
    page.reload()


def set_slider(page: Page, name: str, value: float) -> None:
    page.locator(f"#{name}").evaluate(
        "(e, value) => { e.value = value; e.dispatchEvent(new Event('input', {bubbles: true})); }",
        value,
    )


def test_the_page_is_one_piece_and_never_makes_markup_of_text() -> None:
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page())
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|DOMParser|createContextualFragment|document\.write"
    assert not re.search(unsafe + r"|eval\(|Function\(", script())
    assert "unsafe" not in content_security_policy()


def test_the_browser_is_sent_the_policy_and_finds_nothing_against_it(
    browser: Browser, server_url: str
) -> None:
    tab = browser.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    response = tab.goto(server_url)
    assert response is not None
    assert response.header_value("content-security-policy") == content_security_policy()
    expect(tab.locator("#examples button").first).to_be_visible()
    refused = "() => { try { document.body.innerHTML = '<b>x</b>'; } catch { return true; } return false; }"
    assert tab.evaluate(refused), "the browser itself refuses markup made of text"
    assert [text for text in said if "TrustedHTML" not in text] == []
    tab.close()


# Puts into the page what no script of it should; answers what the policy refused, and whether any of it ran.
ATTACK = """async () => {
  const refused = new Set();
  document.addEventListener("securitypolicyviolation", (event) => refused.add(event.effectiveDirective));
  const add = (tag, attributes) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      try { element.setAttribute(name, value); } catch { refused.add("trusted-types"); }
    }
    document.body.append(element);
  };
  add("img", { src: "https://evil.example/x.png", onerror: "window.ran = true" });
  add("script", { src: "https://evil.example/x.js" });
  add("iframe", { src: "https://evil.example/" });
  add("p", { style: "background: url(https://evil.example/y.png)" });
  add("link", { rel: "stylesheet", href: "https://evil.example/x.css" });
  await fetch("https://evil.example/").catch(() => null);
  await new Promise((resolve) => setTimeout(resolve, 100));
  return [[...refused], window.ran === true];
}"""


def test_whatever_gets_into_the_page_can_neither_run_nor_call_out(browser: Browser, server_url: str) -> None:
    tab = browser.new_page()
    tab.goto(server_url)
    outside: list[Request] = []
    tab.on("request", lambda request: outside.append(request))
    refused, ran = tab.evaluate(ATTACK)
    wanted = {"img-src", "frame-src", "style-src-attr", "style-src-elem", "connect-src", "trusted-types"}
    assert wanted <= set(refused)
    assert not ran
    assert {request.failure for request in outside} <= {"csp"}, "refused before anything is sent"
    tab.close()


def test_a_message_is_asked_for_shown_and_kept(page: Page) -> None:
    asked = requests_of(page)
    ask(page, "Hello")
    expect(page.locator(".reply .usage")).to_contain_text("token")
    [request] = asked
    assert request["messages"] == [{"role": "user", "content": "Hello"}]
    wanted = {"stream": True, "logprobs": True, "top_logprobs": 5, "stream_options": {"include_usage": True}}
    assert wanted.items() <= request.items()
    assert {"model", "temperature", "top_p", "min_p", "repetition_penalty", "max_tokens"} <= request.keys()
    assert not {"seed", "top_k"} & request.keys(), "off is not sent"
    set_slider(page, "max_tokens", 8192)  # its right end: as long as there is room
    page.get_by_label("Message", exact=True).fill("Hello again")
    page.keyboard.press("Enter")
    expect(page.locator(".user")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.locator("[aria-busy]")).to_have_count(0, timeout=60_000)
    assert "max_tokens" not in asked[1]
    before = page.locator("#messages").inner_text()
    page.reload()
    assert page.locator("#messages").inner_text() == before


def test_a_reply_can_be_written_again(page: Page) -> None:
    asked = requests_of(page)
    ask(page, "Hello")
    page.get_by_label("Write the reply again").click()
    expect(page.locator("[aria-busy]")).to_have_count(0)
    expect(page.locator(".reply")).to_have_count(1)
    assert [request["messages"] for request in asked] == [[{"role": "user", "content": "Hello"}]] * 2


def test_an_earlier_message_is_edited_and_what_followed_is_gone(page: Page) -> None:
    asked = requests_of(page)
    ask(page, "First")
    ask(page, "Second")
    page.locator(".user").first.hover()
    page.get_by_label("Edit the message").first.click()
    page.locator(".editor textarea").fill("Another")
    page.get_by_role("button", name="Send", exact=True).first.click()
    expect(page.locator(".user")).to_have_count(1)
    expect(page.locator(".bubble")).to_have_text("Another")
    expect(page.locator("[aria-busy]")).to_have_count(0)
    assert asked[-1]["messages"] == [{"role": "user", "content": "Another"}]


def test_keys_send_break_lines_edit_and_cancel(page: Page) -> None:
    box = page.get_by_label("Message", exact=True)
    box.press("Enter")
    expect(page.locator(".user")).to_have_count(0)
    box.press_sequentially("one")
    box.press("Shift+Enter")
    box.press_sequentially("two")
    box.press("Enter")
    expect(page.locator(".bubble")).to_have_text("one\ntwo", use_inner_text=True)
    expect(page.locator("[aria-busy]")).to_have_count(0)
    box.press("ArrowUp")
    editor = page.locator(".editor textarea")
    expect(editor).to_be_focused()
    expect(editor).to_have_value("one\ntwo")
    editor.press("Escape")
    expect(page.locator(".bubble")).to_have_count(1)
    expect(box).to_be_focused()


@pytest.mark.parametrize("how", ["the button", "the key"])
def test_a_stopped_reply_keeps_what_was_said(page: Page, how: str) -> None:
    keep_slow(page)
    set_slider(page, "max_tokens", 4096)
    page.get_by_label("Message", exact=True).fill("Hello")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-busy] .body")).to_have_text(re.compile(r"\S"), timeout=60_000)
    page.get_by_role("button", name="Stop").click() if how == "the button" else page.keyboard.press("Escape")
    expect(page.locator(".reply .usage")).to_contain_text("stopped")
    assert page.locator(".reply .body").text_content()
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_settings_are_shown_sent_kept_and_reset(page: Page) -> None:
    asked = requests_of(page)
    page.get_by_role("button", name="Settings", exact=True).click()
    usual = page.locator("#temperature-value").inner_text()
    set_slider(page, "temperature", 1.3)
    set_slider(page, "top_k", 40)
    page.get_by_label("Seed").fill("12")
    page.get_by_label("System prompt").fill("Be brief.")
    expect(page.locator("#temperature-value")).to_have_text("1.3")
    page.reload()
    ask(page, "Hello")
    assert {"temperature": 1.3, "top_k": 40, "seed": 12}.items() <= asked[0].items()
    assert asked[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    page.get_by_role("button", name="Settings", exact=True).click()
    page.get_by_role("button", name="Reset the settings").click()
    expect(page.locator("#temperature-value")).to_have_text(usual)
    ask(page, "Hello")
    assert not {"top_k", "seed"} & asked[1].keys()


def token_bytes(text: str) -> bytes:
    """What a token stands for; one that is a part of a character is shown as escapes such as \\xc5."""
    escapes = re.fullmatch(r"(\\x[0-9a-f]{2})+", text)
    return bytes.fromhex(text.replace("\\x", "")) if escapes else text.encode()


def test_tokens_show_how_likely_they_were(page: Page) -> None:
    ask(page, "Hello")
    said = "".join(part["text"] for part in kept(page)[1]["parts"])
    page.get_by_label("Token probabilities").click()
    tokens, tip = page.locator(".token"), page.locator("#tip")
    shown = b"".join(map(token_bytes, tokens.all_text_contents()))
    assert shown.startswith(said.split("\ufffd")[0][:20].encode())
    page.locator("#scroller").evaluate("e => e.scrollTo(0, 0)")
    tokens.first.hover()
    expect(tip).to_be_visible()
    expect(tip.locator("p")).to_contain_text(re.compile(r"\d+\.\d %"))
    assert 1 <= tip.locator("tr").count() <= 5
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    tokens.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(1)).to_be_focused()
    expect(tip).to_be_visible()
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def kept(page: Page) -> list[dict[str, Any]]:
    return page.evaluate("JSON.parse(localStorage.getItem('trueformer.chat'))")


def test_tools_are_shown_as_such_and_sent_back_as_parts(page: Page) -> None:
    begin(page, [USER, TOOL_REPLY])
    card = page.get_by_label("Tool calculator")
    expect(card.get_by_label("Asked")).to_have_text("6*7")
    expect(card.get_by_label("Answered")).to_have_text("42")
    expect(page.locator(".reply strong")).to_have_text("42")
    asked = requests_of(page)
    ask(page, "And again?")
    parts = [{key: part[key] for key in part if key != "tokens"} for part in TOOL_REPLY["parts"]]
    assert asked[0]["messages"][1] == {"role": "assistant", "content": parts}


def test_a_tool_call_in_a_stream(page: Page) -> None:
    token = {"token": "It is ", "logprob": -0.1, "bytes": list(b"It is "), "top_logprobs": []}
    call = {"type": "tool_call", "name": "calculator", "input": "6*7"}
    body = chunk({"role": "assistant", "content": "It is "}, [token]) + chunk({"parts": [call]})
    body += chunk({"parts": [{"type": "tool_result", "text": "<b>42</b>"}]}) + chunk({"content": "42 — ça"})
    body += chunk({}, end="stop") + "data: [DONE]\n\n"
    page.route(
        "**/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream")
    )
    ask(page, "What is 6 * 7?")
    expect(page.get_by_label("Answered")).to_have_text("<b>42</b>")
    expect(page.locator(".reply .body > p").last).to_have_text("42 — ça")
    assert page.locator(".reply b").count() == 1, "only the tool's name, which the page wrote"


def test_a_server_that_is_down_is_said_and_asked_again(page: Page) -> None:
    page.route("**/chat/completions", lambda route: route.abort())
    ask(page, "Hello")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.locator(".reply")).to_have_count(0)
    page.unroute("**/chat/completions")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".reply .usage")).to_contain_text("token")
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_page_without_its_server_says_so(page: Page) -> None:
    page.route("**/v1/models", lambda route: route.abort())
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/v1/models")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#examples button").first).to_be_visible()


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        ('data: {"error": {"message": "out of <i>memory</i>"}}\n\n', "out of <i>memory</i>"),
        ("", "ended before the reply did"),
        ("data: 7\n\n", "no reply"),
    ],
)
def test_a_reply_that_breaks_off_is_kept_with_the_reason(page: Page, ending: str, says: str) -> None:
    body = chunk({"content": "Half a"}) + ending
    page.route(
        "**/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream")
    )
    ask(page, "Hello")
    expect(page.get_by_role("alert")).to_contain_text(says)
    expect(page.locator(".reply .body")).to_have_text("Half a")
    expect(page.locator(".reply .usage")).to_contain_text("broken off")


def test_a_refused_request_says_what_the_server_said(page: Page) -> None:
    error = {"error": {"message": "temperature is 9: expected at most 2", "type": "invalid_request_error"}}
    page.route("**/chat/completions", lambda route: route.fulfill(status=400, json=error))
    ask(page, "Hello")
    expect(page.get_by_role("alert")).to_contain_text("temperature is 9: expected at most 2")


def test_the_key_is_asked_for_sent_and_kept_in_the_tab_only(page: Page) -> None:
    def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer sesame":
            route.continue_()
        else:
            route.fulfill(status=401, json={"error": {"message": "This server needs a key."}})

    page.route("**/v1/**", guard)
    page.reload()
    page.get_by_label("API key").fill("sesame")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#examples button").first).to_be_visible()
    ask(page, "Hello")
    expect(page.locator(".reply .usage")).to_contain_text("token")
    assert "sesame" not in page.evaluate("JSON.stringify(localStorage)")
    assert "sesame" not in page.context.cookies().__repr__()


def test_a_new_chat_can_be_undone(page: Page) -> None:
    begin(page, [USER, TOOL_REPLY])
    page.get_by_label("New chat").click()
    expect(page.locator("article")).to_have_count(0)
    assert kept(page) == []
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("article")).to_have_count(2)
    assert len(kept(page)) == 2


@pytest.mark.parametrize(
    "damaged",
    [
        "{",
        "null",
        "7",
        '[null, 7, {"role": "user"}, {"role": "assistant", "parts": [null, {"type": "text"}]}]',
    ],
)
def test_damaged_memory_does_not_stop_the_page(page: Page, damaged: str) -> None:
    for name in ("chat", "settings", "theme", "chances", "model"):
        page.evaluate("([name, text]) => localStorage.setItem(`trueformer.${name}`, text)", [name, damaged])
    page.reload()
    ask(page, "Hello")
    expect(page.locator(".reply .usage").last).to_contain_text("token")


def test_who_writes_before_the_models_are_known_is_answered(page: Page) -> None:
    waiting: list[Route] = []
    page.route("**/v1/models", lambda route: waiting.append(route))
    page.reload()
    page.get_by_label("Message", exact=True).fill("Hello")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-busy]")).to_have_count(1)
    for route in waiting:
        route.continue_()
    page.unroute("**/v1/models")
    expect(page.locator(".reply .usage")).to_contain_text("token")


def test_what_is_kept_is_bounded_and_the_newest_stays(page: Page) -> None:
    begin(page, [{"role": "user", "text": f"{i} {'x' * 50_000}"} for i in range(45)])
    page.route("**/chat/completions", lambda route: route.abort())
    ask(page, "the newest")
    messages = kept(page)
    assert len(json.dumps(messages)) < 1_100_000
    assert messages[-1] == {"role": "user", "text": "the newest"}
    assert len(messages) > 10


def test_nothing_is_pulled_down_while_the_reader_looks_up(page: Page) -> None:
    begin(page, [{"role": "user", "text": f"line {i}\n" * 30} for i in range(4)])
    keep_slow(page)
    set_slider(page, "max_tokens", 4096)
    page.get_by_label("Message", exact=True).fill("Hello")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-busy] .body > *").first).to_be_visible(timeout=60_000)
    scroller = page.locator("#scroller")
    from_the_end = "e => e.scrollHeight - e.scrollTop - e.clientHeight"
    assert scroller.evaluate(from_the_end) < 2, "at the end, new words are followed"
    scroller.evaluate("e => { e.scrollTop = 100; }")
    expect(page.get_by_label("To the latest")).to_be_visible()
    before = page.locator(".reply .body").inner_text()
    expect(page.locator(".reply .body")).not_to_have_text(before, use_inner_text=True)
    assert scroller.evaluate("e => e.scrollTop") == 100
    page.get_by_label("To the latest").click()
    assert scroller.evaluate(from_the_end) < 2
    page.keyboard.press("Escape")


def test_copies_are_what_was_said(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    code = {"type": "text", "text": "Like this:\n```py\na < b\n  c\n```\n", "tokens": []}
    begin(page, [USER, {"role": "assistant", "parts": [code]}])
    for label, text in (
        ("Copy the code", "a < b\n  c"),
        ("Copy the reply", code["text"]),
        ("Copy the message", USER["text"]),
    ):
        page.get_by_label(label).click(force=True)
        expect(page.locator("#announce")).to_have_text("Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == text
        page.locator("#announce").evaluate("e => { e.textContent = ''; }")
