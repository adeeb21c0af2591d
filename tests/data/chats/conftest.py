"""A folder like GSM8K's, which the repository does not hold."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """Lines of our own making as the data set writes them, and one note as its test set has it once: 3/4."""
    return [
        {
            "question": "Ben has 48 pens and Ada half as many. How many have they?",
            "answer": "Ada has 48/2 = $<<48/2=24.00>>24 pens.\nTogether 48+24 = <<48+24=72>>72.\n#### 72",
        },
        {"question": "What is 1000 + 250?", "answer": "It is plain.\n#### 1,250"},
        {"question": "What is 3/4?", "answer": "<<3/4=3/4>>3/4 is <<.5+.25=.75>>.75\n#### .75"},
    ]


@pytest.fixture
def school(tmp_path: Path, rows: list[dict[str, str]]) -> Path:
    """The folder: train.jsonl, and of the same rows two in test.jsonl."""
    for name, some in (("train.jsonl", rows), ("test.jsonl", rows[:2])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in some))
    return tmp_path
