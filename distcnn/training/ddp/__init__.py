"""Data-parallel training: ranks of torch DDP, launched as Dask tasks."""
