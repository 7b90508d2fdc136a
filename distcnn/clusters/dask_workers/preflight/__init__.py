"""Preflight: ``run`` is the whole; ``examine`` what is asked, ``verdict`` what is wrong.

``latecomers`` asks whoever joins after it.
"""
