"""Documents from files of each kind, by file, folder and glob."""

import json
import os

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from trueformer.data import files
from trueformer.data.corpora import open_corpus
from trueformer.data.files import LONGEST, cut


def read(source, tmp_path):
    return list(open_corpus(str(source), tmp_path / "cache").documents())


@settings(deadline=None, max_examples=100)
@given(
    blocks=st.lists(
        st.tuples(st.text("ab \n", max_size=6), st.integers(0, 3000)).map(lambda pair: pair[0] * pair[1])
    )
)
def test_a_cut_text_joined_is_the_text(blocks):
    pieces = list(cut(blocks))
    assert "".join(pieces) == "".join(blocks)
    assert all(len(piece) <= LONGEST for piece in pieces)
    assert all(len(piece) >= LONGEST // 2 for piece in pieces[:-1])


@pytest.mark.parametrize("mark", ["\n\n", "\r\n\r\n", "\n", " "])
def test_a_long_text_is_cut_behind_the_best_break_it_has(mark):
    pieces = list(cut([("word" * 20 + mark) * 400]))
    assert len(pieces) > 3
    assert all(piece.endswith(mark) for piece in pieces)


def test_a_long_file_becomes_several_documents_and_a_short_one_stays_whole(tmp_path):
    text = "\n\n".join(f"Paragraph {i} has some words, and then some more.\nAnd a line." for i in range(1000))
    (tmp_path / "long.txt").write_text(text)
    (tmp_path / "short.md").write_text("# Title\n\nText.\n")
    long = read(tmp_path / "long.txt", tmp_path)
    assert len(long) > 5
    assert "".join(long) == text
    assert all(document.startswith("Paragraph") for document in long)
    assert read(tmp_path / "short.md", tmp_path) == ["# Title\n\nText.\n"]


def test_line_ends_stay_and_a_byte_order_mark_goes(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert read(tmp_path / "a.txt", tmp_path) == ["one\r\ntwo\rthree\n"]


def test_jsonl_gives_the_text_of_each_line(tmp_path):
    lines = [json.dumps({"id": 1, "text": "é\n\n1"}), "", json.dumps({"text": " \n"}), '{"text": "\\u00e9"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert read(tmp_path / "a.jsonl", tmp_path) == ["é\n\n1", "é"]


@pytest.mark.parametrize(
    "bad", ['{"text": 5}', '{"body": "x"}', "[1]", "nonsense", '{"text": "\\ud800"}', '{"text": null}']
)
def test_a_bad_line_is_reported_by_file_and_number(tmp_path, bad):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + bad + "\n")
    with pytest.raises(ValueError, match=r'a\.jsonl, line 2: expected an object with a "text" string'):
        read(tmp_path / "a.jsonl", tmp_path)


def test_parquet_gives_its_text_column(tmp_path):
    table = pyarrow.table({"id": [1, 2, 3], "text": ["one", None, "three"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", tmp_path) == ["one", "three"]
    parquet.write_table(table.drop_columns(["text"]), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r'b\.parquet has columns id: expected one named "text"'):
        read(tmp_path / "b.parquet", tmp_path)


def test_folders_and_globs_find_files_in_sorted_order(tmp_path):
    (tmp_path / "docs" / "inner").mkdir(parents=True)
    for name in ("b.txt", "inner/a.md", "c.jsonl", "skip.py"):
        content = '{"text": "c.jsonl"}' if name.endswith("jsonl") else name
        (tmp_path / "docs" / name).write_text(content)
    assert read(tmp_path / "docs", tmp_path) == ["b.txt", "c.jsonl", "inner/a.md"]
    assert read(f"{tmp_path}/docs/", tmp_path) == ["b.txt", "c.jsonl", "inner/a.md"]
    assert read(tmp_path / "docs/**/*.md", tmp_path) == ["inner/a.md"]
    assert read(tmp_path / "docs" / "*.txt", tmp_path) == ["b.txt"]


@pytest.mark.parametrize(("source", "name"), [("*.txt", "text"), ("a [b] *", "a-b"), ("é/../x y.txt", "x-y")])
def test_a_corpus_has_a_name_that_can_be_part_of_a_folder_s(tmp_path, monkeypatch, source, name):
    (tmp_path / "é").mkdir()
    (tmp_path / "x y.txt").write_text("x")
    (tmp_path / "a [b] *").mkdir()
    (tmp_path / "a [b] *" / "y.md").write_text("y")
    monkeypatch.chdir(tmp_path)
    assert open_corpus(source, tmp_path).name == name


def test_odd_names_are_found(tmp_path):
    folder = tmp_path / "a [b] *"
    folder.mkdir()
    (folder / "x.txt").write_text("here")
    assert read(folder, tmp_path) == ["here"]


def test_t25_a_source_that_is_not_there_is_an_error_with_the_choices(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no text at 'nothing/here'.*shakespeare, python"):
        read("nothing/here", tmp_path)
    with pytest.raises(FileNotFoundError, match="did you mean 'shakespeare'"):
        read("shakespear", tmp_path)
    with pytest.raises(FileNotFoundError, match="no text at ''"):
        read("", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no text at"):
        read(tmp_path / "empty", tmp_path)


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(ValueError, match=r"ends in '\.pdf': expected one of \.txt, \.md"):
        read(tmp_path / "a.pdf", tmp_path)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8"):
        read(tmp_path / "a.txt", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("secret")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(PermissionError):
        read(tmp_path / "a.txt", tmp_path)


def test_the_fingerprint_changes_with_the_files(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one")
    first = open_corpus(str(file), tmp_path).fingerprint
    assert open_corpus(str(file), tmp_path).fingerprint == first
    file.write_text("three")
    second = open_corpus(str(file), tmp_path).fingerprint
    os.utime(file, ns=(1, 1))
    assert len({first, second, open_corpus(str(file), tmp_path).fingerprint}) == 3


def test_reading_is_repeatable(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    corpus = open_corpus(str(tmp_path / "a.txt"), tmp_path)
    assert list(corpus.documents()) == list(corpus.documents()) == ["one"]
    assert corpus.size == 3
    assert files.SUFFIXES == (".txt", ".md", ".jsonl", ".parquet")
