"""Table of the benchmark of novelty, made of its newest result."""

from typing import Any

from rendering.tables import markdown, origin

Result = dict[str, Any]


def novelty(result: Result) -> str:
    """Stars detected and stars with a moved or wrong label, by class of trouble."""
    facts = (
        f"{result['stars']:,} stars simulated, {result['clean']:,} of them clean",
        f"{result['members']} members",
        f"{result['measures']} measures" + (", fitted anew" if result["refitted"] else ""),
        f"of clean stars {_share(result['clean_wrong'])} have a label wrong by more than 3 errors "
        f"and {_share(result['clean_above_shipped_limit'])} are above the limit of the package",
    )
    rows = [
        (
            name.replace("_", " "),
            str(row["stars"]),
            _share(row["detected"]),
            *(_damaged(row, kind) for kind in ("moved", "moved_little", "wrong")),
        )
        for name, row in result["classes"].items()
    ]
    head = ("trouble", "stars", "detected", "moved by 3 errors", "by 1 error", "wrong by 3 errors")
    return "\n\n".join([origin(result, *facts), markdown(head, rows)])


def _damaged(row: dict[str, Any], kind: str) -> str:
    """What is detected of the damaged stars, and how many these are."""
    return f"{_share(row[f'{kind}_detected'])} of {row[f'{kind}_stars']:,}"


def _share(found: dict[str, float | None]) -> str:
    share, error = found["share"], found["error"]
    return "-" if share is None or error is None else f"{100 * share:.1f} ± {100 * error:.1f} %"
