"""What every Dask backend shares: executor, gangs, tasks, settings, scratch folders."""
