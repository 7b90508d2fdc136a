"""Packages: networks, quality and origin in one directory, checked before it is used."""
