"""One member from its first weights to its best.

``member`` is the task (data, layers, result), ``fit`` the loop over epochs and steps, ``loss`` what
it lowers, ``checkpoint`` where it goes on, ``progress`` what it reports, ``collective`` what it
needs of other ranks. ``precision`` and ``conv_matmul`` make it fast.
"""
