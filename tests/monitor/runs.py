"""Runs for tests of those who watch: a clock that is set, regions of any kind, a small survey."""

from dataclasses import replace

from conformance.listener_checks import RESULT

from distcnn.events import RegionFailed, RegionStored, StageStarted
from distcnn.monitor.run_state import RunState
from distcnn.survey import Region

STARS = 1000


class Clock:
    """Seconds since 1970 that pass when they are told to."""

    def __init__(self, now: float = 1.8e9) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def stored(number: int, worker: str = "host:1", **changes: object) -> RegionStored:
    region = Region(number * STARS, (number + 1) * STARS)
    given = {"stars": STARS, "done": STARS, "failed": 0, "reasons": {}, **changes}
    result = replace(RESULT, region=region, worker=worker, **given)
    return RegionStored("predict", region.name, 1, result)


def busy_state(regions: int = 60, seconds: float = 1.0, run: str = "one") -> tuple[RunState, Clock]:
    """A run of 100,000 stars by three workers, in which some stars and one region failed."""
    clock = Clock()
    state = RunState(run, {"output": "predictions.zarr", "cluster": "local"}, clock)
    state(StageStarted("predict", 100_000, "stars", 10_000))
    flags = {"NO_XP": 30, "NOVEL_SPECTRUM": 20, "MEMBERS_DISAGREE": 50}
    for number in range(regions):
        clock.now += seconds
        failed = 3 if number == 7 else 0
        state(
            stored(
                10 + number,
                f"host:{number % 3}",
                flagged=flags,
                failed=failed,
                disagreement=0.25,
            )
        )
        state.tick()
    state(RegionFailed("predict", "000070000-000071000", 1, "<b>flux</b> cannot be read"))
    return state, clock
