"""Extensions of the scheduler: Dask's own, but for what would grow with every task."""

from typing import Any

from distributed.scheduler import DEFAULT_EXTENSIONS
from distributed.spans import SpansSchedulerExtension


class ForgetfulSpans(SpansSchedulerExtension):
    """Spans that keep no note of every graph.

    Dask keeps one as long as the span lives, and every task of a executor is a graph of its own in
    one span: at a million tasks, hundreds of megabytes in the driver.
    """

    def observe_tasks(self, tss: Any, code: Any, span_metadata: Any) -> Any:
        """What Dask does, without the note."""
        nothing: Any = None
        return super().observe_tasks(tss, code=code, span_metadata=nothing)


def extensions() -> dict[str, Any]:
    """What a scheduler in this process is started with.

    Dask leaves stealing out by itself, as ``dask_settings`` asks, only where it chooses them all.
    """
    kept = {name: kind for name, kind in DEFAULT_EXTENSIONS.items() if name != "stealing"}
    return kept | {"spans": ForgetfulSpans}
