"""Trials of other settings, judged by validation loss.

``tune`` runs trials, ``study`` is what they came to, ``optuna_study`` where they come from.
"""
