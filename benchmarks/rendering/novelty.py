"""Table of the benchmark of novelty, made of its newest result."""

from typing import Any

from rendering.tables import markdown, origin

Result = dict[str, Any]


def novelty(result: Result) -> str:
    """Stars detected and stars with a wrong label, by class of trouble."""
    facts = (
        f"{result['stars']:,} stars simulated, {result['clean']:,} of them clean",
        f"{result['members']} members",
        f"{result['measures']} measures" + (", fitted anew" if result["refitted"] else ""),
        f"of clean stars {_share(result['clean_wrong'])} have a label wrong by more than 3 errors",
    )
    rows = [
        (
            name.replace("_", " "),
            str(row["stars"]),
            _share(row["detected"]),
            f"{_share(row['wrong'])} ({row['wrong_stars']})",
            _share(row["wrong_detected"]),
        )
        for name, row in result["classes"].items()
    ]
    head = ("trouble", "stars", "detected", "a label wrong (stars)", "of these detected")
    return "\n\n".join([origin(result, *facts), markdown(head, rows)])


def _share(found: dict[str, float | None]) -> str:
    share, error = found["share"], found["error"]
    return "-" if share is None or error is None else f"{100 * share:.1f} ± {100 * error:.1f} %"
