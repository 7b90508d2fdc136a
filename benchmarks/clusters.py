"""The conformance kit of clusters on this machine: which backend passes which check, in seconds.

    python benchmarks/clusters.py [BACKEND ...]      # none = all that have tests; then render.py
    python benchmarks/clusters.py --report REPORT    # of a run of all tests (--junitxml=REPORT)

Runs the tests of ``tests/clusters`` that belong to the kit, and keeps the outcome of each backend
in ``benchmarks/results/clusters-BACKEND.json``, of which ``render.py`` makes the table of
``deploy/README.md``. A check that cannot run here is skipped with its reason. Exits with 1 if one
has failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lib.origin import commit, hardware, now

from distcnn.clusters.registry import ROWS

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "clusters"
RESULTS = ROOT / "benchmarks" / "results"


def backends() -> list[str]:
    """Those that have tests of whole commands."""
    names = {path.stem.removeprefix("test_clusters_") for path in TESTS.glob("test_*.py")}
    return sorted(row.name for row in ROWS if f"{row.name}_runs" in names or row.name in names)


def names_of(kits: Iterable[type]) -> list[str]:
    """The checks of classes of the kit, in their order."""
    found = [name for kit in kits for one in reversed(kit.__mro__) for name in vars(one)]
    return [name for name in dict.fromkeys(found) if name.startswith("test_")]


def kit() -> tuple[list[str], list[str]]:
    """Names of the checks of whole commands, and of those of executors."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from conformance import cluster_checks, cluster_runs

    runs = (cluster_runs.RunChecks, cluster_runs.LossChecks)
    runs += (cluster_runs.RefusalChecks, cluster_runs.StageChecks)
    return names_of(runs), names_of([cluster_checks.WorkerChecks])


def run(backend: str, checks: Sequence[str]) -> list[ET.Element]:
    """The test cases of a backend, as pytest reports them."""
    files = [TESTS / f"test_clusters_{backend}{end}.py" for end in ("", "_runs")]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", "-k", " or ".join(checks)]
        words += ["-o", "timeout=1800", *(str(file) for file in files if file.exists())]
        subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        return list(ET.parse(report).getroot().iter("testcase"))


def reported(backend: str, report: Path) -> list[ET.Element]:
    """The test cases of a backend in the report of a run of all tests."""
    modules = {f"tests.clusters.test_clusters_{backend}{end}" for end in ("", "_runs")}
    cases = ET.parse(report).getroot().iter("testcase")
    return [case for case in cases if _module(case) in modules]


def _module(case: ET.Element) -> str:
    """Its class, if it has one, comes after the module."""
    return ".".join(str(case.get("classname")).split(".")[:3])


def outcome(case: ET.Element) -> dict[str, Any]:
    """``passed``, ``skipped`` or ``failed``, with seconds and the reason."""
    for tag, word in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            reason = (found.get("message") or "").splitlines()[:1]
            return {"outcome": word, "seconds": _seconds(case), "reason": "".join(reason)}
    return {"outcome": "passed", "seconds": _seconds(case)}


def _seconds(case: ET.Element) -> float:
    return round(float(case.get("time") or 0), 1)


def measured(backend: str, report: Path | None) -> dict[str, Any]:
    """The result of one backend, from a report if there is one."""
    runs, executor = kit()
    cases = reported(backend, report) if report else run(backend, [*runs, *executor])
    # Reversed: where a backend repeats a check in other surroundings, the first one counts.
    of_runs = {str(c.get("name")): outcome(c) for c in reversed(cases) if c.get("name") in runs}
    others = [outcome(case) for case in cases if case.get("name") in executor]
    words = [one["outcome"] for one in others]
    return {
        "backend": backend,
        "hardware": hardware(),
        "commit": commit(),
        "date": now(),
        "load": None if report else os.getloadavg()[0],
        "checks": {name: of_runs.get(name) for name in runs},
        "executor": {
            **{word: words.count(word) for word in ("passed", "skipped", "failed")},
            "seconds": round(sum(one["seconds"] for one in others), 1),
        },
    }


def main() -> None:
    """Run, keep, and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("backends", nargs="*", default=backends())
    parser.add_argument("--report", type=Path, help="of pytest, instead of running the tests")
    options, failed = parser.parse_args(), False
    for backend in options.backends:
        result = measured(backend, options.report)
        if not any(result["checks"].values()):  # of a report without it: keep what is known
            print(backend, "has no check in", options.report or "its tests")
            continue
        text = json.dumps(result, indent=1) + "\n"
        (RESULTS / f"clusters-{backend}.json").write_text(text, encoding="utf-8")
        words = [one["outcome"] for one in result["checks"].values() if one]
        failed |= "failed" in words or bool(result["executor"]["failed"])
        print(backend, {word: words.count(word) for word in sorted(set(words))}, result["executor"])
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
