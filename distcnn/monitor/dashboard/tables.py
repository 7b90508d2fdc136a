"""The texts of the page: a snapshot of a run as HTML, part by part.

Everything that comes from outside (names of hosts and files, error messages) is escaped.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from time import localtime, strftime
from typing import Any
from urllib.parse import quote

from distcnn.formatting import format_bytes, format_duration, format_number
from distcnn.monitor.run_state import Snapshot
from distcnn.schema import Flag

PARTS = ("head", "tiles", "workers", "flags", "errors")
STEPS = ("load", "read", "infer", "flags", "write")
STEP_TITLES = {"infer": "compute"}
MAX_WORKER_ROWS = 12
COLOURS = {
    "running": "#2f855a",
    "complete": "#2b6cb0",
    "stalled": "#c53030",
    "failed": "#c53030",
    "stopped": "#c05621",
}


def waiting() -> str:
    """Before the first word of a run."""
    return "<h1>distcnn</h1><p>No run has reported yet.</p>"


def render(snapshot: Snapshot, silence: float, others: Sequence[str]) -> dict[str, str]:
    """The parts of the page by name; ``silence``: seconds without progress."""
    return {
        "head": _head(snapshot, silence, others),
        "tiles": _tiles(snapshot),
        "workers": _workers(snapshot),
        "flags": _members(snapshot) if snapshot["members"] else _flags(snapshot),
        "errors": _errors(snapshot),
    }


def _head(snapshot: Snapshot, silence: float, others: Sequence[str]) -> str:
    status = snapshot["status"]
    colour = COLOURS.get(status, "#52606d")
    about = [snapshot["run"], snapshot.get("cluster", ""), snapshot.get("output", "")]
    links = " ".join(f'<a href="distcnn?run={quote(run)}">{escape(run)}</a>' for run in others)
    return (
        f"<h1>distcnn {escape(snapshot['stage'])} "
        f'<span class="badge" style="background:{colour}">{escape(status)}</span></h1>'
        f'<p class="about">{escape("  ·  ".join(str(part) for part in about if part))}'
        f"{f'  ·  other runs: {links}' if links else ''}</p>" + _alarm(snapshot, silence)
    )


def _alarm(snapshot: Snapshot, silence: float) -> str:
    stalled = snapshot.get("stalled")
    if not stalled:
        return ""
    return f'<p class="alarm">No progress for {format_duration(silence)}: {escape(stalled)}</p>'


def _tiles(snapshot: Snapshot) -> str:
    unit, total = snapshot["unit"] or "units", snapshot["total"]
    reached = snapshot["before"] + snapshot["done"]
    share = 100 * reached / total if total else 100.0
    left = snapshot["seconds_left"]
    ended = snapshot["status"] in {"complete", "failed", "stopped"}
    tiles = [
        _tile(
            f"{share:.1f} %",
            f"{_count(reached)} of {_count(total)} {unit} done",
            f'<div class="bar"><div style="width:{min(share, 100):.2f}%"></div></div>',
        ),
        _tile(
            format_duration(snapshot["elapsed"])
            if ended
            else format_duration(left)
            if left
            else "not known yet",
            "taken" if ended else f"left; {_count(snapshot['left'])} {unit} to do",
            "" if ended else f"running for {format_duration(snapshot['elapsed'])}",
        ),
        _tile(
            _count(0 if ended else snapshot["speed"]),
            f"{unit}/s now",
            f"{_count(snapshot['mean_speed'])} {unit}/s in the mean",
        ),
    ]
    if snapshot["regions"]:
        tiles += _region_tiles(snapshot)
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _region_tiles(snapshot: Snapshot) -> list[str]:
    rates, done = snapshot["rates"], max(snapshot["done"], 1)
    quarantined = snapshot["quarantined"]
    return [
        _tile(
            _count(snapshot["regions"]),
            "regions stored",
            f"{snapshot['failed_attempts']:,} attempts failed",
        ),
        _tile(
            f"{quarantined:,}",
            "stars quarantined",
            f"{100 * quarantined / done:.3f} % of stars",
        ),
        _tile(
            f"{100 * rates['novel']:.2f} %",
            "novel spectra, of late",
            "unlike all training spectra",
        ),
        _tile(
            f"{rates['disagreement']:.2f}",
            "member scatter / error",
            f"they disagree: {100 * rates['disagree']:.2f} %",
        ),
    ]


def _tile(value: str, label: str, more: str) -> str:
    return (
        f'<div class="tile"><div class="value">{value}</div>'
        f'<div class="label">{escape(label)}</div><div class="more">{more}</div></div>'
    )


def _workers(snapshot: Snapshot) -> str:
    workers: Mapping[str, Mapping[str, Any]] = snapshot["workers"]
    if not workers:
        return _section("Workers", "<p>None has stored a region yet.</p>")
    steps = [step for step in STEPS if any(step in one["seconds"] for one in workers.values())]
    head = ["worker", "engine", "regions", "stars/s", *(STEP_TITLES.get(s, s) for s in steps)]
    head += ["memory", "last region", "ago"]
    rows = [
        _worker_row(name, one, steps, snapshot["time"])
        for name, one in sorted(workers.items())[:MAX_WORKER_ROWS]
    ]
    count = snapshot["worker_count"]
    more = f"<p>and {count - len(rows)} more</p>" if count > len(rows) else ""
    table = _table(head, rows, left={0, 1, len(head) - 2})
    title = f"Workers: {count}, seconds per region by step"
    return _section(title, _shares(snapshot["seconds"]) + table + more)


def _worker_row(name: str, one: Mapping[str, Any], steps: Iterable[str], now: float) -> list[str]:
    regions, seconds = max(one["regions"], 1), one["seconds"]
    busy = seconds.get("total") or sum(seconds.values())
    return [
        name,
        one["engine"],
        f"{one['regions']:,}",
        _count(one["stars"] / busy if busy else 0.0),
        *(f"{seconds.get(step, 0.0) / regions:.2f}" for step in steps),
        format_bytes(one["memory"]) if one["memory"] else "",
        one["last_region"],
        format_duration(max(0.0, now - one["last_time"])),
    ]


def _shares(seconds: Mapping[str, float]) -> str:
    """One bar of all workers' time, by step."""
    known = {step: seconds.get(step, 0.0) for step in STEPS if seconds.get(step)}
    whole = sum(known.values())
    if not whole:
        return ""
    parts = "".join(
        f'<div class="step-{step}" style="width:{100 * value / whole:.2f}%"></div>'
        for step, value in known.items()
    )
    legend = " ".join(
        f'<span><i class="step-{step}"></i>{STEP_TITLES.get(step, step)} '
        f"{100 * value / whole:.1f} %</span>"
        for step, value in known.items()
    )
    return f'<div class="shares">{parts}</div><p class="legend">{legend}</p>'


def _flags(snapshot: Snapshot) -> str:
    stars = max(snapshot["done"], 1)
    ordered = sorted(snapshot["flags"].items(), key=lambda item: -item[1])
    rows = [
        [
            f'<span title="{escape(_sentence(name))}">{escape(name.lower())}</span>',
            f"{n:,}",
            f"{100 * n / stars:.2f} %",
            _mini_bar(n / stars),
        ]
        for name, n in ordered
    ]
    body = _table(["flag", "stars", "share", ""], rows, left={0, 3}, safe=True)
    return _section("Flags", body if rows else "<p>None yet.</p>")


def _members(snapshot: Snapshot) -> str:
    rows = [
        [
            number,
            f"{one['epoch']} of {one['epochs']}",
            f"{one['loss']:.4f}",
            f"{one['validation']:.4f}",
            _count(one["stars_per_second"]),
        ]
        for number, one in sorted(snapshot["members"].items(), key=lambda item: int(item[0]))
    ]
    head = ["member", "epoch", "loss", "validation", "stars/s"]
    return _section("Members that train (loss in nats per label)", _table(head, rows, left=set()))


def _errors(snapshot: Snapshot) -> str:
    rows = [
        [strftime("%H:%M:%S", localtime(one["time"])), _of_region(one) + one["text"]]
        for one in reversed(snapshot["errors"])
    ]
    body = _table(["time", "what happened"], rows, left={0, 1}, wide=1)
    return _section("Errors and warnings", body if rows else "<p>None.</p>")


def _of_region(one: Mapping[str, Any]) -> str:
    return f"Region {one['region']}, attempt {one['attempt']}: " if one["region"] else ""


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>{body}"


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: set[int],
    *,
    safe: bool = False,
    wide: int | None = None,
) -> str:
    """``left``: columns of text; ``wide``: the one whose lines are broken; ``safe``: of HTML."""

    def kind(number: int) -> str:
        names = ["text"] * (number in left) + ["wide"] * (number == wide)
        return f' class="{" ".join(names)}"' if names else ""

    def cells(tag: str, row: Sequence[str], *, safe: bool) -> str:
        return "".join(
            f"<{tag}{' class=text' if number in left else ''}>"
            f"{cell if safe else escape(cell)}</{tag}>"
            for number, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row, safe=safe)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', head, safe=False)}</tr>{body}</table>"


def _mini_bar(share: float) -> str:
    return f'<div class="mini"><div style="width:{min(100 * share, 100):.1f}%"></div></div>'


def _sentence(name: str) -> str:
    return Flag[name].sentence if name in Flag.__members__ else name


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else format_number(float(value))
