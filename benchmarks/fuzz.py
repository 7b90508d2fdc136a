"""Damages small files of every format and reads them with every reader.

    python benchmarks/fuzz.py [--seconds 300] [--every-byte [--step 1]] [--only TEXT] [--json FILE]

Every input must end in rows, in quarantined rows or members, or in an error that names a cure;
never in another exception, a hang (a bound for every input, in a child process) or memory without
bound. ``--every-byte`` first cuts every file at each of its bytes. Exit code 1 if anything was
found; the inputs stand in ``--keep FOLDER``.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from lib.fuzzing import Judge, damaged, seeds

GOOD = ("rows", "error")


class Fuzz:
    """Inputs put to the judge so far, and what was found."""

    def __init__(self, seed: int, keep: Path | None) -> None:
        self.catalogue = seeds()
        self.judge = Judge(self.catalogue)
        self.rng = np.random.default_rng(seed)
        self.keep = keep
        self.outcomes: Counter[str] = Counter()
        self.findings: dict[tuple[str, str], int] = {}

    def put(self, number: int, content: bytes) -> None:
        """Judge one input for one reader; the first of every finding is printed and kept."""
        first = bool(self.rng.random() < 0.2)
        kind, detail = self.judge.judge(number, content, only_first=first)
        self.outcomes[kind] += 1
        if kind in GOOD:
            return
        title = self.catalogue[number].title
        key = kind, detail.partition(": ")[0] if kind == "exception" else title
        self.findings[key] = self.findings.get(key, 0) + 1
        if self.findings[key] > 1:
            return
        print(f"{kind}: {title}: {detail}", flush=True)
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            name = f"{len(self.findings):03d}_{title.replace(' ', '_')}"
            (self.keep / name).write_bytes(content)

    def check_sound(self, number: int) -> None:
        """The file before any damage must give rows."""
        seed = self.catalogue[number]
        kind, detail = self.judge.judge(number, seed.content)
        if kind != "rows":
            self.findings["sound", seed.title] = 1
            print(f"not even sound: {seed.title}: {detail}", flush=True)


def main() -> int:
    """Fuzz for a while, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every-byte", action="store_true")
    parser.add_argument("--step", type=int, default=1, help="of --every-byte")
    parser.add_argument("--only", default="", help="part of reader, kind or name of the file")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    fuzz, begun, cuts = Fuzz(options.seed, options.keep), time.monotonic(), 0
    chosen = [n for n, seed in enumerate(fuzz.catalogue) if options.only in seed.title]
    for number in chosen:
        fuzz.check_sound(number)
    for number in chosen if options.every_byte else ():
        content = fuzz.catalogue[number].content
        for stop in range(0, len(content), options.step):
            fuzz.put(number, content[:stop])
            cuts += 1
    while time.monotonic() - begun < options.seconds:
        number = chosen[int(fuzz.rng.integers(len(chosen)))]
        fuzz.put(number, damaged(fuzz.catalogue[number], fuzz.rng))
    fuzz.judge.close()
    seconds, total = time.monotonic() - begun, sum(fuzz.outcomes.values())
    print(f"{total} inputs of {len(chosen)} files ({cuts} cuts at every byte) in {seconds:.0f} s")
    print(f"outcomes {dict(fuzz.outcomes)}; {len(fuzz.findings)} different findings")
    if options.json is not None:
        numbers = {"inputs": total, "seconds": seconds, "outcomes": fuzz.outcomes, "cuts": cuts}
        named = [[*key, count] for key, count in fuzz.findings.items()]
        options.json.write_text(json.dumps(numbers | {"findings": named}, indent=1))
    return 1 if fuzz.findings else 0


if __name__ == "__main__":
    sys.exit(main())
