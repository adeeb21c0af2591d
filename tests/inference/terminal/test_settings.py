"""Settings as a user writes them: taken over, or refused with what is expected."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueformer.inference.terminal.settings import NAMES, Settings, changed


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("temperature", "0", 0.0),
        ("top-p", ".9", 0.9),
        ("top_k", "5", 5),
        ("top_k", "none", None),
        ("min_p", "0.1", 0.1),
        ("repetition_penalty", "1.2", 1.2),
        ("seed", "0", 0),
        ("seed", "NONE", None),
        ("max_tokens", "12", 12),
    ],
)
def test_a_setting_is_what_was_written(name, value, expected):
    before = Settings(top_k=3, seed=3)
    after = changed(before, name, value)
    name = name.replace("-", "_")
    assert getattr(after, name) == expected
    assert [n for n in NAMES if n != name and getattr(after, n) != getattr(before, n)] == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", "hot", "temperature is 'hot': expected a number"),
        ("temperature", "-1", "temperature is -1.0: expected 0"),
        ("temperature", "nan", "temperature is nan: expected 0"),
        ("temperature", "inf", "temperature is inf: expected 0"),
        ("top_p", "0", "top_p is 0.0: expected above 0"),
        ("top_p", "none", "expected a number"),
        ("top_k", "0", "top_k is 0: expected at least 1"),
        ("top_k", "1.5", "expected a whole number, or none"),
        ("min_p", "2", "min_p is 2.0: expected 0"),
        ("repetition_penalty", "0", "expected above 0"),
        ("seed", "-1", "expected a whole number from 0"),
        ("seed", "9" * 5000, "expected a whole number"),
        ("max_tokens", "0", "expected at least 1"),
        ("heat", "1", "there is no setting 'heat': expected one of temperature, top_k"),
    ],
)
def test_a_bad_value_says_what_is_expected(name, value, message):
    with pytest.raises(ValueError, match=message):
        changed(Settings(), name, value)


@given(name=st.sampled_from(NAMES), value=st.text(max_size=10))
def test_whatever_is_written_is_taken_or_refused(name, value):
    with suppress(ValueError):
        changed(Settings(), name, value).sampling(0)
