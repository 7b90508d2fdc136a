"""Checks of finished predictions, by what an evaluation finds in them."""
