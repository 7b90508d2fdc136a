"""Checks of what labels are taken from: their own lines, or what usually comes with them."""
