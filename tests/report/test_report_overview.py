"""What the page says of where not to trust: in which units, of which share, of which flags."""

from types import SimpleNamespace

import pytest

from distcnn.report.blocks import Note, Table
from distcnn.report.sections.overview import trust
from distcnn.stats import WITHIN_68, WITHIN_95


def _data(rows=(), flags=()):
    """As much of a report's data as the section asks for."""
    numbers = SimpleNamespace(distrust={"rows": list(rows), "compared": 9}, flags=list(flags))
    return SimpleNamespace(numbers=numbers, finished=SimpleNamespace(checks=[]))


@pytest.mark.parametrize(
    ("expected", "what"),
    [
        (WITHIN_68, "stars within one quoted error"),
        (WITHIN_95, "stars within two quoted errors"),
    ],
)
def test_a_coverage_says_of_how_many_errors_it_is(expected, what):
    row = {"kind": "coverage", "label": "teff", "where": "dwarf", "stars": 99, "value": 0.5}
    row |= {"expected": expected, "sigma": -4.0, "advice": "errors are too small here"}
    table = next(block for block in trust(_data([row]), []) if isinstance(block, Table))
    assert table.rows[0]["what"] == what


def test_a_flag_is_not_said_to_be_about_every_label():
    flags = [{"flag": "UNCALIBRATED", "stars": 1500}]
    notes = [block.text for block in trust(_data(flags=flags), []) if isinstance(block, Note)]
    told = next(text for text in notes if "UNCALIBRATED 1,500" in text)
    assert "Not every flag is about every label" in told
    assert "_recommendation" in told
