"""Report: the table of what preflight found, and the error if something is wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from distcnn.errors import ClusterError
from distcnn.formatting import format_bytes

HOSTS_SHOWN = 16
"""Rows of the table; a large cluster has more hosts than anybody reads."""


@dataclass
class Report:
    """What was found. ``problems``: what, what was expected, and the cure."""

    workers: dict[str, dict[str, Any]]
    here: dict[str, Any]
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    places: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse workers with which the run cannot go well.

        Raises
        ------
        ClusterError : names all problems, each with its cure.
        """
        if not self.problems:
            return
        what, expected, cures = zip(*self.problems, strict=True)
        raise ClusterError(
            f"the cluster is not fit for this run: {'; '.join(what)}",
            expected="; ".join(dict.fromkeys(expected)),
            cure=" ".join(dict.fromkeys(cures)),
        )

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        hosts = self._by_host()
        verdict = "refused" if self.problems else "fit for the run"
        count = len(self.workers)
        yield f"Workers: {count_of(count, 'worker')} on {count_of(len(hosts), 'host')}, {verdict}"
        versions = ", ".join(f"{k} {v}" for k, v in self.here["versions"].items())
        yield f"  versions  python {self.here['python']}, {versions}"
        if self.places and not any(facts["unseen"] for facts in self.workers.values()):
            yield f"  places    {', '.join(self.places)}: seen by all"
        yield f"  {'host':24s}{'workers':>8s}{'threads':>8s}  {'device':10s}{'memory':>10s}" + (
            f"{'free':>10s}{'disk free':>11s}"
        )
        for host, group in list(hosts.items())[:HOSTS_SHOWN]:
            yield _row(host, group)
        if len(hosts) > HOSTS_SHOWN:
            yield f"  and {len(hosts) - HOSTS_SHOWN} more hosts"
        yield from (f"  refused   {problem}" for problem, _, _ in self.problems)

    def _by_host(self) -> dict[str, list[dict[str, Any]]]:
        hosts: dict[str, list[dict[str, Any]]] = {}
        for facts in self.workers.values():
            hosts.setdefault(facts["host"], []).append(facts)
        return dict(sorted(hosts.items()))


def _row(host: str, group: Sequence[dict[str, Any]]) -> str:
    first = group[0]
    gpus = max(facts["gpus"] or 0 for facts in group)
    device = f"{gpus} GPU{'s' * (gpus != 1)}" if gpus else "cpu"
    memory = format_bytes(first["memory_limit"]) if first["memory_limit"] else "no limit"
    free, disk = (
        format_bytes(first[key]) if first[key] is not None else "?"
        for key in ("memory_free", "disk_free")
    )
    threads = first["threads"] or "?"
    return (
        f"  {host:24s}{len(group):8d}{threads:>8s}  {device:10s}{memory:>10s}{free:>10s}{disk:>11s}"
    )


def count_of(number: int, noun: str) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{number} {noun}{'s' * (number != 1)}"
