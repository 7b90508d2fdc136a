"""The page on the Dask dashboard and the metrics beside it.

``link`` runs in the driver and sends snapshots; ``plugin`` runs at the scheduler, keeps and shows
them (``page``, ``tables``, ``metrics``); ``worker`` runs at each worker.
"""
