"""What every Dask backend shares: executor, tasks, settings, preflight, the start of workers."""
