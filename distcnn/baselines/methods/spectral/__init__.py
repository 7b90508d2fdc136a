"""Standard methods of spectroscopy, with the labelled stars in the place of synthetic spectra.

``cannon``, ``payne`` and ``ferre`` model the spectrum of any labels and search the labels of least
chi-square (``model_fit``); ``gauguin`` does the same with local linear models; ``matisse`` projects
spectra on vectors, one per label. ``spectra`` makes their inputs.
"""
