"""Sections that tell at once: the summary, where not to trust, and the flags."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from distcnn.evaluation.baseline_table import NETWORK
from distcnn.evaluation.distrust import SIGMA
from distcnn.labels import label_info
from distcnn.report.blocks import (
    Block,
    Card,
    Cards,
    Column,
    Mark,
    Note,
    Picture,
    Row,
    Table,
    label_text,
)
from distcnn.report.data import ReportData
from distcnn.schema import Recommendation
from distcnn.stats import WITHIN_68

FAILED, UNDECIDED = "failed", "undecided"
KINDS = {
    "coverage": "stars within one quoted error",
    "bias": "bias",
    "slope": "slope against truth",
    "rival": "scatter of another method",
}
EXPECTED_BY_CHANCE = 0.0124
"""Part of right bins that lie more than ``SIGMA`` errors away: both tails of a Gaussian."""


def summary(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """The numbers at a glance, and what they mean in one sentence each."""
    numbers = data.numbers
    lost = numbers.status["failed"] + numbers.status["waiting"]
    cards = [
        Card(f"{numbers.status['done']:,}", "stars computed"),
        Card(_percent(numbers.unflagged, numbers.stars), "without any flag"),
        *([Card(f"{lost:,}", "not computed", "out")] if lost else []),
        Card(f"{numbers.judged:,}", f"evaluated against {numbers.judged_against}"),
    ]
    rate = numbers.throughput["stars_per_second"]
    if rate:
        cards.append(Card(f"{rate:,.0f}", "stars/s per worker"))
    rows = sum(row["rows"] for row in numbers.quarantine)
    cards.append(Card(f"{rows:,}", "rows quarantined at ingest"))
    cards += list(_check_cards(data))
    return [Cards(cards), *_glance(data), *pictures]


def _check_cards(data: ReportData) -> Iterator[Card]:
    verdicts = [one.verdict for one in data.finished.checks]
    if verdicts:
        failed = verdicts.count(FAILED)
        text = f"of {len(verdicts)} science checks failed"
        yield Card(str(failed), text, "out" if failed else "")


def _glance(data: ReportData) -> Iterator[Block]:
    """Every label in one row, over all S/N."""
    numbers = data.numbers
    own = [row for row in numbers.accuracy if row["snr"] == "all" and row["method"] == NETWORK]
    covered: dict[str, Row] = {r["label"]: r for r in numbers.coverage if r["snr"] == "all"}
    if not own:
        yield Note(
            "No star outside training has a reference label, so nothing on this page says how "
            "accurate the labels are; it shows what the package says of itself.",
            strong=True,
        )
        return
    columns = (
        Column("label", "Label", "label"),
        Column("unit", "Unit"),
        Column("stars", "Stars", "count"),
        Column("bias", "Bias", "value"),
        Column("std", "Standard deviation", "value"),
        Column("mad", "1.48 MAD", "value"),
        Column("slope", "Slope against truth", "number"),
        Column("within_68", "Within 1 quoted error (68.3 %)", "percent"),
        Column("within_95", "Within 2 (95.4 %)", "percent"),
    )
    rows = [
        {**row, "unit": label_info(row["label"]).unit}
        | {key: covered.get(row["label"], {}).get(key) for key in ("within_68", "within_95")}
        for row in own
    ]
    note = f"Over all S/N, against {numbers.judged_against}, on stars outside training."
    yield Table("glance", "Every label at a glance", columns, rows, note)
    yield from _off(data)


def _off(data: ReportData) -> Iterator[Block]:
    found = data.numbers.distrust
    off, compared = len(found["rows"]), found["compared"]
    if compared:
        yield Note(
            f"{off} of {compared} bins (coverage, bias, slope and other methods, by label, S/N, "
            f"population and range of the label) are off by more than {SIGMA:g} sampling errors "
            f"and by enough to matter; chance alone would give fewer than "
            f"{math.ceil(EXPECTED_BY_CHANCE * compared)}."
        )


def trust(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """Failed checks, bins that are off, and flags to leave out."""
    blocks: list[Block] = [*_failed_checks(data)]
    rows = data.numbers.distrust["rows"]
    compared = data.numbers.distrust["compared"]
    if rows:
        columns = (
            Column("label", "Label", "label"),
            Column("where", "Where"),
            Column("what", "What is off"),
            Column("stars", "Stars", "count"),
            Column("found", "Found"),
            Column("promised", "Promised"),
            Column("sigma", "Sampling errors", "number", digits=1),
            Column("advice", "Advice"),
        )
        note = (
            f"{compared} bins were looked at. Listed is what lies more than {SIGMA:g} sampling "
            "errors from what is promised and is large enough to matter; the worst come first. "
            "Sampling errors of a coverage are those of the stars judged here and of the stars "
            "that the errors were calibrated on."
        )
        shown = [_distrust_row(row) for row in rows]
        blocks.append(Table("distrust", "Bins in which something is off", columns, shown, note))
    elif compared:
        blocks.append(Note(f"None of {compared} bins is off by more than chance explains.", True))
    flagged = [row for row in data.numbers.flags if row["stars"]]
    if flagged:
        blocks.append(
            Note(
                "Not every flag is about every label: the column <label>_recommendation of the "
                "catalogue says for each label 0 use, 1 use with care or 2 do not use. flags = 0 "
                "leaves stars without any flag (section Limits, novelty and flags). "
                + "; ".join(f"{row['flag']} {row['stars']:,}" for row in flagged)
                + "."
            )
        )
    return [*blocks, *pictures]


def _failed_checks(data: ReportData) -> Iterator[Block]:
    rows = [
        {"check": one.name, "verdict": one.verdict, "sentence": " ".join(one.sentences)}
        for one in data.finished.checks
        if one.verdict in (FAILED, UNDECIDED)
    ]
    if rows:
        columns = (
            Column("check", "Check", "code"),
            Column("verdict", "Verdict"),
            Column("sentence", "What was found"),
        )
        rows.sort(key=lambda row: row["verdict"])
        title = "Checks that failed or could not decide"
        yield Table("open_checks", title, columns, rows, mark=_verdict_mark)
    elif data.finished.checks:
        yield Note(f"All {len(data.finished.checks)} science checks passed.", strong=True)
    else:
        yield Note("No science check was run on these predictions (section Science checks).")


def _verdict_mark(row: Row, key: str) -> Mark:
    return "out" if key == "verdict" and row[key] == FAILED else ""


def _distrust_row(row: Any) -> dict[str, Any]:
    printed = _fraction if row["kind"] == "coverage" else _number
    if row["kind"] in ("bias", "rival"):
        value = Column("value", "", "value")
        found, promised = (value.text({"label": row["label"], "value": row[k]}) for k in _ENDS)
    else:
        found, promised = (printed(row[key]) for key in _ENDS)
    what = KINDS[row["kind"]]
    if row["kind"] == "coverage" and row["expected"] > WITHIN_68:
        what = "stars within two quoted errors"
    return dict(row) | {"what": what, "found": found, "promised": promised}


_ENDS = ("value", "expected")


def flags(data: ReportData, pictures: Sequence[Picture]) -> Sequence[Block]:
    """Every flag with its stars, the limits behind them, and how defects are flagged."""
    columns = (
        Column("flag", "Flag", "code"),
        Column("bit", "Bit", "count"),
        Column("sentence", "Meaning"),
        Column("stars", "Stars", "count"),
        Column("fraction", "Fraction", "percent"),
    )
    blocks: list[Block] = [Table("flags", "Flags", columns, data.numbers.flags)]
    limits = _limit_rows(data)
    if limits:
        heads = (
            Column("quantity", "Quantity"),
            Column("low", "From", "number"),
            Column("high", "To", "number"),
        )
        note = "Beyond these values of the training stars LABEL_LIMITS or INPUT_LIMITS is set."
        blocks.append(Table("limits", "Limits", heads, limits, note, folded=True))
    return [*_recommended(data), *blocks, *_defects(data), *pictures]


def _recommended(data: ReportData) -> Iterator[Block]:
    """How many stars each label is recommended for."""
    counts = data.numbers.completeness["recommended"]
    if counts is None:
        return
    columns = (
        Column("label", "Label", "label"),
        *(Column(one.name.lower(), one.sentence, "percent") for one in Recommendation),
        *(
            Column(f"{one.name.lower()}_stars", f"{one.sentence}, stars", "count")
            for one in Recommendation
        ),
    )
    rows = []
    for name, mine in zip(data.names, counts, strict=True):
        row: dict[str, Any] = {"label": name}
        for one, stars in zip(Recommendation, mine, strict=True):
            row |= {one.name.lower(): stars / max(sum(mine), 1), f"{one.name.lower()}_stars": stars}
        rows.append(row)
    note = "The worst that a flag of the star says of the label; label_recommendation has it."
    yield Table("recommended", "Recommendation of each label", columns, rows, note)


def _limit_rows(data: ReportData) -> list[dict[str, Any]]:
    limits = data.predictions.attrs.get("limits") or {}
    low, high = limits.get("label_low") or [], limits.get("label_high") or []
    rows = [
        {"quantity": label_text(name), "low": a, "high": b}
        for name, a, b in zip(data.names, low, high, strict=False)
    ]
    for key, value in limits.items():
        if not key.startswith("label_") and isinstance(value, list) and len(value) == 2:
            rows.append({"quantity": key.replace("_", " "), "low": value[0], "high": value[1]})
    return rows


def _defects(data: ReportData) -> Iterator[Block]:
    found = data.numbers.trouble
    if not found:
        return
    seen = [row["flag"] for row in data.numbers.flags if row["stars"]]
    columns = (
        Column("trouble", "Defect"),
        Column("stars", "Stars", "count"),
        Column("any", "Any flag", "percent"),
        *(Column(name, name.lower().replace("_", " "), "percent") for name in seen),
    )
    rows = [
        {
            "trouble": row["trouble"].replace("_", " "),
            "stars": row["stars"],
            "any": row["any"],
            **{name: row["flags"].get(name) for name in seen},
        }
        for row in found
    ]
    note = "Stars outside training; fraction of each kind that carries a flag."
    yield Table("defects", "Simulated defects, and how they are flagged", columns, rows, note)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / (whole or 1):.1f} %"


def _fraction(value: float) -> str:
    return f"{100 * value:.1f} %"


def _number(value: float) -> str:
    return f"{value:.3f}"
