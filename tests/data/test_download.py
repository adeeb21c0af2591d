"""Fetching from a server on this machine: whole, resumed, cut off, changed, absent."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trueformer.data.config import DataConfig
from trueformer.data.corpora import NAMED, Named
from trueformer.data.download import Remote, fetch
from trueformer.data.files import read_documents
from trueformer.data.shards import prepare

BODY = "".join(f"Story number {n} is short.\n\n" for n in range(2000)).encode()


class Server(ThreadingHTTPServer):
    """Serves BODY; keeps what was asked of it and how it is to behave."""

    body = BODY
    honours_ranges = True
    breaks_after: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/stories.txt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        if not self.path.endswith("stories.txt"):
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.honours_ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(server.body) - start))
        self.end_headers()
        end = len(server.body) if server.breaks_after is None else start + server.breaks_after
        self.wfile.write(server.body[start:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def remote(server, **changes):
    values = {"name": "stories.txt", "url": server.url, "size": len(BODY)}
    return Remote(**(values | {"sha256": hashlib.sha256(BODY).hexdigest()} | changes))


def test_a_file_is_fetched_once(server, tmp_path):
    for _ in range(2):
        assert fetch(remote(server), tmp_path / "new").read_bytes() == BODY
    assert server.asked == [None]
    assert [f.name for f in (tmp_path / "new").iterdir()] == ["stories.txt"]


def test_a_broken_connection_is_reported_and_resumed(server, tmp_path):
    server.breaks_after = 1000
    with pytest.raises(OSError, match=r"could not be fetched \(.*1,000 of .*try again to go on"):
        fetch(remote(server), tmp_path)
    assert not (tmp_path / "stories.txt").exists()
    server.breaks_after = None
    assert fetch(remote(server), tmp_path).read_bytes() == BODY
    assert server.asked == [None, "bytes=1000-"]


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    (tmp_path / "stories.txt.part").write_bytes(BODY[:1000])
    server.honours_ranges = False
    assert fetch(remote(server), tmp_path).read_bytes() == BODY


def test_a_whole_part_is_checked_without_asking(server, tmp_path):
    (tmp_path / "stories.txt.part").write_bytes(BODY)
    assert fetch(remote(server), tmp_path).read_bytes() == BODY
    assert server.asked == []


def test_a_changed_file_is_refused_and_deleted(server, tmp_path):
    server.body = BODY.replace(b"999", b"998")
    with pytest.raises(ValueError, match=r"with SHA-256 .*: expected"):
        fetch(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_beginning_is_refused_and_then_fetched_afresh(server, tmp_path):
    (tmp_path / "stories.txt.part").write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match="expected"):
        fetch(remote(server), tmp_path)
    assert fetch(remote(server), tmp_path).read_bytes() == BODY


def test_more_than_the_registered_size_is_not_taken(server, tmp_path):
    server.body = BODY * 50
    with pytest.raises(ValueError, match=rf"gave {len(BODY) + 1:,} bytes"):
        fetch(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_a_missing_server_are_reported(server, tmp_path):
    with pytest.raises(OSError, match=r"404.*or put the file at"):
        fetch(remote(server, url=server.url + "x"), tmp_path)
    with pytest.raises(OSError, match="could not be fetched"):
        fetch(remote(server, url="http://127.0.0.1:1/stories.txt"), tmp_path)


def test_a_file_put_in_place_by_hand_is_used(server, tmp_path):
    (tmp_path / "stories.txt").write_bytes(BODY)
    assert fetch(remote(server), tmp_path) == tmp_path / "stories.txt"
    assert server.asked == []


def test_a_named_corpus_with_an_address_is_fetched_and_prepared(server, tmp_path, monkeypatch):
    def fetched(folder):
        return [fetch(remote(server), folder)]

    monkeypatch.setitem(NAMED, "stories", Named(about="stories", files=fetched, read=read_documents))
    config = DataConfig(source="stories", cache=str(tmp_path), tokenizer="char")
    data = prepare(config)
    assert data.train.n_bytes + data.validation.n_bytes == len(BODY)
    assert prepare(config).folder == data.folder
    assert server.asked == [None]
