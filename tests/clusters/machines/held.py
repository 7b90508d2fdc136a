"""Workers that begin no region until the test lets go."""

from functools import partial

from conformance.cluster_checks import wait_until


def hold(marker, function, task):
    """Say that a worker is at a region, and begin it when the test lets go."""
    region = getattr(task, "region", None)
    if region is not None:  # a worker that makes itself ready has none
        (marker.parent / f"{marker.name}-{region.name}").touch()
        wait_until(marker.exists)
    return function(task)


class Held:
    """An executor whose workers wait for ``marker``, a file."""

    def __init__(self, executor, marker):
        self.executor, self.marker, self.workers = executor, marker, executor.workers

    def __call__(self, function, tasks):
        return self.executor(partial(hold, self.marker, function), tasks)

    def until_begun(self, future, count):
        """Wait for so many regions of a run to be at a worker."""
        wait_until(lambda: future.done() or len(self._begun()) >= count)
        assert not future.done(), future.result()

    def _begun(self):
        return list(self.marker.parent.glob(f"{self.marker.name}-*"))
