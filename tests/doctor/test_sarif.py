"""A report as SARIF 2.1.0: the structure that its schema requires, and places in the user's code."""

import json
from pathlib import Path

from trueformer.doctor.law_sarif import report_as_sarif, target_file
from trueformer.doctor.report import Report

LEVELS = ("none", "note", "warning", "error")


def test_it_follows_the_schema(report: Report, sarif_errors):
    log = json.loads(json.dumps(report_as_sarif(report)))
    assert sarif_errors(log) == []
    assert log["version"] == "2.1.0"
    assert "sarif" in log["$schema"]
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "trueformer"
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["level"] in LEVELS
        assert ids[result["ruleIndex"]] == result["ruleId"]
        for location in result["locations"]:
            physical = location["physicalLocation"]
            assert not Path(physical["artifactLocation"]["uri"]).is_absolute()
            assert physical["region"]["startLine"] >= 1


def test_every_law_is_a_rule_with_help(report: Report):
    rules = report_as_sarif(report)["runs"][0]["tool"]["driver"]["rules"]
    assert {rule["id"] for rule in rules} == {result.law.id for result in report.results}
    for rule in rules:
        assert rule["shortDescription"]["text"] == "What must hold."
        assert "The causes of it." in rule["help"]["text"]


def test_only_what_is_wrong_is_a_result(report: Report):
    results = report_as_sarif(report)["runs"][0]["results"]
    assert {result["ruleId"]: result["level"] for result in results} == {
        "attention/broken": "error",
        "norm/crashed": "error",
        "norm/slow": "error",
        "loss/advice": "note",
    }


def test_a_crash_is_at_the_user_s_line_and_the_rest_at_the_target(report: Report):
    results = {result["ruleId"]: result for result in report_as_sarif(report)["runs"][0]["results"]}
    crash = results["norm/crashed"]["locations"][0]["physicalLocation"]
    assert (crash["artifactLocation"]["uri"], crash["region"]["startLine"]) == ("mine.py", 31)
    broken = results["attention/broken"]["locations"][0]["physicalLocation"]
    assert broken["artifactLocation"]["uri"] == "models/mine.py"


def test_what_is_no_file_has_no_place():
    assert target_file("a/b.py:build") == "a/b.py"
    assert target_file("hf:folder") == target_file("package.module:build") == target_file("model") == ""
