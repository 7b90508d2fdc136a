import pytest

from distcnn.formatting import dotted, format_bytes, format_duration, format_number


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_290_000_000, "2.29 GB"), (3e15, "3e+03 TB")],
)
def test_sizes_are_said_in_powers_of_a_thousand(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (8.44, "8.4 s"),
        (51.2, "51 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (302_400, "3.5 days"),
        (86_400_000, "1,000.0 days"),
    ],
)
def test_times_are_said_in_units_that_fit(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345, "12,345"), (1234.5, "1,234"), (0.012345, "0.0123"), (True, "True"), ("x", "x")],
)
def test_numbers_have_their_thousands_apart(value, text):
    assert format_number(value) == text


def test_leaves_of_nested_settings_have_dotted_names():
    tree = {"a": {"b": 1, "c": {}}, "d": [2]}
    assert list(dotted(tree, "train")) == [("train.a.b", 1), ("train.d", [2])]
    assert list(dotted(tree)) == [("a.b", 1), ("d", [2])]
