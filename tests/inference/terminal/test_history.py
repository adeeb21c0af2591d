"""History: kept between chats for its user alone, bounded, and never a reason to fail."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trueformer.inference.terminal.history import MOST_CHARACTERS, MOST_ENTRIES, History, history_path


def test_entries_come_back_whole_and_in_order(tmp_path):
    path = tmp_path / "state" / "chat_history"
    history = History(path)
    for text in ["one", "two\nlines", "é\x1b[A", "é\x1b[A", "", " "]:
        history.add(text)
    assert History(path).entries == ["one", "two\nlines", "é\x1b[A"]


def test_only_its_user_may_read_it(tmp_path):
    path = tmp_path / "state" / "chat_history"
    History(path).add("secret")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    History(path).add("another")
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_bounded(tmp_path):
    path = tmp_path / "chat_history"
    history = History(path)
    for i in range(MOST_ENTRIES + 5):
        history.add(str(i))
    history.add("x" * (MOST_CHARACTERS + 1))
    assert History(path).entries == [str(i) for i in range(5, MOST_ENTRIES + 5)]
    assert len(path.read_bytes().splitlines()) == MOST_ENTRIES


@given(
    lines=st.lists(
        st.binary(max_size=20) | st.just(b'"a"') | st.sampled_from([b"[" * 5000, b'"\\u0000"']), max_size=5
    )
)
def test_whatever_stands_in_the_file_it_can_be_read(lines, tmp_path_factory):
    path = tmp_path_factory.mktemp("h") / "chat_history"
    path.write_bytes(b"\n".join(lines) + b"\n")
    history = History(path)
    assert all("\0" not in entry for entry in history.entries)
    assert history.entries.count("a") >= lines.count(b'"a"')
    history.add("the last")
    assert History(path).entries[-1] == "the last"


def test_where_it_cannot_be_kept_nothing_fails(tmp_path):
    (tmp_path / "state").write_text("a file is in the way")
    history = History(tmp_path / "state" / "chat_history")
    history.add("one")
    assert history.entries == ["one"]
    assert History(tmp_path).entries == []  # a folder in its place
    History(tmp_path).add("one")


def test_the_place_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_path() == tmp_path / "trueformer" / "chat_history"
    for other in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", other)
        assert history_path() == Path.home() / ".local" / "state" / "trueformer" / "chat_history"


def test_the_file_is_json_strings(tmp_path):
    path = tmp_path / "chat_history"
    History(path).add('"quoted"\n')
    assert json.loads(path.read_text()) == '"quoted"\n'
