"""JSON and JUnit, read back; files that are whole or not there."""

import json
import resource
from xml.etree import ElementTree

import pytest

from trueformer.doctor.report import Report
from trueformer.doctor.written import SCHEMA_VERSION, to_json, to_junit, writable, write


def strict(text: str) -> dict:
    """JSON as its standard has it: no NaN, no Infinity."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


def test_json_says_everything_again(report: Report):
    said = strict(to_json(report))
    assert said["schema"] == "trueformer-check"
    assert said["schema_version"] == SCHEMA_VERSION == 1
    assert set(said["versions"]) == {"trueformer", "torch", "python"}
    assert said["exit_status"] == 1
    assert said["counts"]["broken"] == 2
    assert [entry["law"]["id"] for entry in said["results"]] == [r.law.id for r in report.results]
    assert [entry["verdict"] for entry in said["results"]] == [str(r.verdict) for r in report.results]
    for entry, result in zip(said["results"], report.results, strict=True):
        assert entry["law"]["statement"] == result.law.statement
        assert entry["law"]["component"] == result.law.component
        assert entry["reason"] == result.reason
        assert entry["fails"] == result.fails
        assert entry["seconds"] == result.seconds


def test_json_has_no_number_that_json_lacks(report: Report):
    held, broken, crashed, *_ = strict(to_json(report))["results"]
    assert held["evidence"]["measured"] == 3e-9
    assert broken["evidence"]["measured"] == "nan"
    assert broken["evidence"]["figure"]["matrix"] == [[1.0, "nan"], ["inf", -0.5]]
    assert crashed["evidence"] is None
    assert crashed["at"].endswith("mine.py:31")


def test_the_fields_of_the_first_version_stay(report: Report):
    """Programs of other people read these names: whoever renames one raises SCHEMA_VERSION."""
    said = strict(to_json(report))
    assert sorted(said) == [
        "command", "counts", "exit_status", "notes", "results", "schema", "schema_version", "seconds", "subject",
        "versions",
    ]  # fmt: skip
    assert sorted(said["results"][0]) == ["at", "evidence", "fails", "law", "reason", "seconds", "verdict"]
    assert sorted(said["results"][0]["law"]) == [
        "advice", "causes", "component", "deep", "id", "looks", "needs", "source", "statement", "symptoms",
        "tolerance",
    ]  # fmt: skip
    assert sorted(said["results"][0]["evidence"]) == [
        "at_least", "bound", "figure", "measured", "saw", "unit", "where",
    ]  # fmt: skip


def test_junit_has_a_case_a_law(report: Report):
    suite = ElementTree.fromstring(to_junit(report)).find("testsuite")
    assert suite is not None
    cases = {case.get("name"): [child.tag for child in case] for case in suite}
    assert cases == {
        "attention/holds": [],
        "attention/broken": ["failure"],
        "norm/crashed": ["error"],
        "norm/slow": ["error"],
        "norm/not": ["skipped"],
        "loss/more": ["skipped"],
        "loss/advice": ["system-out"],
    }
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "7", "failures": "1", "errors": "2", "skipped": "2"}


def test_junit_messages_tell_what_was_measured(report: Report):
    root = ElementTree.fromstring(to_junit(report))
    failure = root.find(".//failure")
    assert failure is not None
    assert "measured nan, expected at most 1e-05" in failure.attrib["message"]
    assert "<script>" in failure.attrib["message"]  # as text: the file is parsed above
    assert "The symptoms of it." in (failure.text or "")


@pytest.fixture
def full_disk():
    """No file may grow beyond ten bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_is_written_whole_or_not_at_all(tmp_path, full_disk):
    path = tmp_path / "report.json"
    write(path, "before")
    with pytest.raises(OSError, match="too large"):
        write(path, "more than what fits")
    assert path.read_text() == "before"
    write(path, "a\ud800")  # half a character is written as its escape
    assert path.read_text() == "a\\ud800"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]  # nothing temporary stays


def test_t25_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "report.json"
    writable(path)
    write(path, "x")
    assert path.read_text() == "x"


def test_a_path_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "report.json"):
        with pytest.raises(ValueError, match=r"cannot write .* expected the name of a file"):
            writable(path)
