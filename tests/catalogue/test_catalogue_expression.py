"""Conditions on rows: what they mean, and that nothing but a condition is read or run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.catalogue import Selection
from distcnn.catalogue.expression import Expression
from distcnn.errors import UsageError
from distcnn.schema import Flag

COLUMNS = {"source_id": "i8", "teff": "f4", "snr": "f4", "flags": "i4", "name": "S4"}
STARS = {
    "source_id": np.array([7, 2**62 + 1, 9, 10]),
    "teff": np.array([4000.0, 5000.0, np.nan, 6000.0], "f4"),
    "snr": np.array([10.0, 20.0, 30.0, np.inf], "f4"),
    "flags": np.array([0, 4, 6, 0], "i4"),
    "name": np.array([b"a", b"bc", b"", b"a"], "S4"),
}


def kept(text):
    expression = Expression.parse(text, COLUMNS)
    return expression({name: STARS[name] for name in expression.names}).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags == 0", [1, 0, 0, 1]),
        ("flags & 4 == 0", [1, 0, 0, 1]),
        ("flags & NOVEL_SPECTRUM != 0 and flags & INPUT_LIMITS == 0", [0, 1, 0, 0]),
        ("15 < snr < 25", [0, 1, 0, 0]),
        ("teff > 0", [1, 1, 0, 1]),
        ("teff != teff", [0, 0, 1, 0]),
        ("isnan(teff) or not isfinite(snr)", [0, 0, 1, 1]),
        ("(teff > 4500) & (snr < 100)", [0, 1, 0, 0]),
        ("~(flags == 0)", [0, 1, 1, 0]),
        ("abs(teff - 5000) <= 0.1 * teff", [0, 1, 0, 0]),
        ("log10(snr) == 1 or sqrt(snr) > 5", [1, 0, 1, 1]),
        ("source_id in (7, 4611686018427387905)", [1, 1, 0, 0]),
        ("source_id not in (7,)", [0, 1, 1, 1]),
        ("source_id == 4611686018427387905", [0, 1, 0, 0]),
        ("source_id % 2 == 0", [0, 0, 0, 1]),
        ("name == 'a'", [1, 0, 0, 1]),
        ('name in ("bc", "")', [0, 1, 1, 0]),
        ("-snr + 20 >= -+0.0", [1, 1, 0, 0]),
        ("True", [1, 1, 1, 1]),
    ],
)
def test_a_condition_means_what_python_and_numpy_mean(text, expected):
    found = kept(text)
    assert found == list(map(bool, expected if len(found) > 1 else expected[:1]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flag == 0", "there is no column 'flag' in 'flag == 0': expected one of source_id, teff"),
        ("flag == 0", "Did you mean 'flags'"),
        ("TEFF > 0", "Did you mean 'teff'"),
        ("flags == NOVEL_SPECTRA", "Did you mean 'NOVEL_SPECTRUM'"),
        ("snr > 5 AND teff > 0", "small letters"),
        ("teff > 5000 & snr < 3", "whole numbers, such as flags.*joined by and"),
        ("flags = 0", "Two values are compared by =="),
        ("flags", "is no condition"),
        ("flags ==", "cannot be read"),
        ("", "cannot be read"),
        ("flags and teff > 3", "'flags' is neither true nor false"),
        ("name == 3", "compares a text with a number"),
        ("name < 'a'", "is not understood"),
        ("name + 3 == 4", "'name' is a text"),
        ("source_id in 7", "'7' is no list"),
        ("source_id in (7, 'a')", "expected numbers"),
        ("source_id in (flags, 3)", "expected numbers"),
        ("teff & 4 == 0", "cannot be computed"),
        ("1 / 0 == snr", "cannot be computed"),
        ("-(teff > 3)", "cannot be computed"),
        ("abs > 3", "'abs' is not understood"),
        ("abs(teff, snr) > 3", "is not understood"),
        ("source_id == 2e400", "is no condition|is not understood|cannot"),
        ("teff ** 2 > 3", "is not understood"),
        ("name == 'é'", "a text of ASCII"),
        (f"source_id == {2**63}", "a number"),
        ("x" * 3000, "2000 at most"),
        ("not " * 450 + "flags == 0", "nested too deep"),
        ("(" * 300 + "1" + ")" * 300, "cannot be read"),
        ("flags == \0", "cannot be read"),
        ("flags == 0 # für mich", "other letters than ASCII"),
    ],
)
def test_what_is_no_condition_is_a_clear_error(text, message):
    if text == "source_id == 2e400":
        assert kept(text) == [False] * 4
        return
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        kept(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') == 0",
        "teff.__class__ == 3",
        "(lambda: 1)() == 1",
        "[x for x in (1,)] == 1",
        "open('/tmp/a') == 1",
        "f'{teff}' == 'a'",
        "teff[0] == 1",
        "(teff := 3) == 3",
        "1 if teff > 3 else 2",
        "print(teff) == 1",
        "abs(x=teff) == 1",
        "abs(*teff) == 1",
    ],
)
def test_nothing_of_python_but_the_language_is_accepted(text):
    with pytest.raises(UsageError):
        kept(text)


def test_the_condition_tells_the_columns_it_needs_and_prints_on_one_line():
    expression = Expression.parse("flags & NO_XP == 0 \n and snr > 3", {**COLUMNS})
    assert expression.names == ("flags", "snr")
    assert expression.text == "flags & NO_XP == 0 and snr > 3"
    assert int(Flag.NO_XP) == 16


@given(st.text(alphabet="flagsnrteff()<>=!&|~ 0123456789.+-*/%'\",andotri[]{}:\\", max_size=40))
def test_any_text_is_a_condition_or_a_clear_error(text):
    try:
        found = kept(text)
    except UsageError:
        return
    assert set(found) <= {True, False}


@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32), st.integers(0, 4095))
def test_comparisons_and_bits_agree_with_numpy(low, high, bits):
    rng = np.random.default_rng(1)
    teff, flags = rng.uniform(-1e6, 1e6, 50).astype("f4"), rng.integers(0, 4096, 50).astype("i4")
    text = f"{low!r} <= teff <= {high!r} or flags & {bits} != 0"
    found = Expression.parse(text, COLUMNS)({"teff": teff, "flags": flags})
    expected = ((np.float32(low) <= teff) & (teff <= np.float32(high))) | ((flags & bits) != 0)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("given", "told"),
    [({"where": " "}, "--where is empty"), ({"margin": 1e9}, "3600 arcseconds"),
     ({"margin": float("nan")}, "3600 arcseconds")],
)  # fmt: skip
def test_margins_and_conditions_that_say_nothing_are_refused(given, told):
    asked = {"columns": None, "where": None, "covariance": None, "margin": None} | given
    with pytest.raises(UsageError, match=told):
        Selection.parse(**asked)
