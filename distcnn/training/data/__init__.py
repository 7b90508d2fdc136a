"""Labelled stars on their way to a batch.

``labelled`` reads them from a survey, ``tensors`` keeps them scaled, ``source`` brings both
together with scalings fitted on the training stars, ``loader`` shards and shuffles them, and
``augment`` changes a batch before the layers see it.
"""
