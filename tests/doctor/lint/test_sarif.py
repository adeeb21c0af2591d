"""SARIF logs follow the 2.1.0 standard: the schema where a package brings it, what it requires always."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.doctor.sarif import Result, sarif

RESULTS = [
    Result(
        rule_id="source/unsafe-load",
        level="warning",
        message="m",
        path="a b/ü.py",
        line=3,
        column=5,
        help="h",
    ),
    Result(rule_id="attention/causal", level="error", message="no place at all"),
    Result(rule_id="source/unsafe-load", level="note", message="m", path="/abs/c.py", line=1, help="h"),
]


def test_a_log_follows_the_schema_and_a_damaged_one_does_not(sarif_errors):
    for results in (RESULTS, []):
        assert sarif_errors(sarif(results)) == []
    damaged = sarif(RESULTS)
    del damaged["runs"][0]["results"][0]["message"]
    damaged["runs"][0]["results"][1]["level"] = "fatal"
    assert len(sarif_errors(damaged)) == 2


def test_the_required_structure_is_there():
    log = json.loads(json.dumps(sarif(RESULTS)))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["attention/causal", "source/unsafe-load"]
    for result, given_ in zip(run["results"], RESULTS, strict=True):
        assert rules[result["ruleIndex"]] == result["ruleId"] == given_.rule_id
        assert result["message"] == {"text": given_.message}
        assert result["level"] == given_.level
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "a%20b/%C3%BC.py"},
        "region": {"startLine": 3, "startColumn": 5},
    }
    assert "locations" not in run["results"][1]
    absolute = run["results"][2]["locations"][0]["physicalLocation"]
    assert absolute["artifactLocation"]["uri"] == "file:///abs/c.py"


@settings(deadline=None)
@given(st.text(), st.text(), st.integers(1, 10**6))
def test_any_text_makes_a_log_that_is_json(message: str, path: str, line: int):
    log = sarif([Result(rule_id="a/b", level="note", message=message, path=path, line=line)])
    assert json.loads(json.dumps(log)) == log
