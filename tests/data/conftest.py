"""Small texts on disk for the tests of this folder."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = "the a dog cat fox runs sees likes over under quickly then and but 1 2 3 . , ! naïve 東京"


@pytest.fixture
def story() -> Callable[[int], str]:
    """A different short text for each number, the same every time."""

    def make(number: int) -> str:
        rng = random.Random(number)
        return f"story {number}: " + " ".join(rng.choices(WORDS.split(), k=rng.randint(5, 60))) + "\n"

    return make


@pytest.fixture
def jsonl(tmp_path: Path, story: Callable[[int], str]) -> Callable[[range], Path]:
    """Writes stories, one a line, and returns the file."""

    def write(numbers: range, name: str = "stories.jsonl") -> Path:
        file = tmp_path / name
        file.write_text("".join(json.dumps({"text": story(n)}) + "\n" for n in numbers))
        return file

    return write
