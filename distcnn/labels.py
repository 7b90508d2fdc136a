"""Labels: what is known of each, by its name: unit, UCD, symbol and sentence.

A survey may have labels of its own beside those of ``schema.LABELS``: the configuration of ingest
describes them, the survey keeps that, and packages and predictions carry it on. What nobody has
described gets a sound default, so every label is trained, predicted and exported alike.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, fields, replace
from types import MappingProxyType
from typing import Any

from distcnn.schema import LABELS, LabelInfo

OwnLabels = Mapping[str, Mapping[str, str]]
"""Per label what differs from the default: unit, ucd, symbol, description; as stores keep it."""
ATTRIBUTE = "label_info"
"""Attribute of surveys and prediction stores that holds it."""
_UCD_OF_UNIT = {
    "K": "phys.temperature",
    "dex": "phys.abund",
    "km/s": "phys.veloc",
    "m/s": "phys.veloc",
    "yr": "time.age",
    "Myr": "time.age",
    "Gyr": "time.age",
    "mag": "phot.mag",
    "pc": "pos.distance",
    "kpc": "pos.distance",
    "solMass": "phys.mass",
    "solRad": "phys.size.radius",
    "solLum": "phys.luminosity",
}
_PARTS = {field.name for field in fields(LabelInfo)} - {"name"}

# Those who draw and print know a label by its name alone; what a store says of its own labels is
# theirs for as long as they work on that store.
_present: ContextVar[OwnLabels] = ContextVar("own labels", default=MappingProxyType({}))


def label_info(name: str, own: OwnLabels | None = None) -> LabelInfo:
    """What is known of a label; ``own``: what its store says, the present store's by default."""
    given = (_present.get() if own is None else own).get(name, {})
    said = {part: text for part, text in given.items() if part in _PARTS and text is not None}
    unit = said.get("unit", "")
    text = f"{name}, a label of this survey"
    usual = LABELS.get(name) or LabelInfo(
        name, unit, _UCD_OF_UNIT.get(unit, "stat.value"), name, text
    )
    return replace(usual, **said)


def described(names: Iterable[str], own: OwnLabels) -> dict[str, dict[str, str]]:
    """What a store keeps: every part of those labels that ``schema.LABELS`` does not tell."""
    found = {name: label_info(name, own) for name in names}
    return {
        name: {part: text for part, text in asdict(info).items() if part != "name"}
        for name, info in found.items()
        if info != LABELS.get(name)
    }


def of_attributes(attrs: Mapping[str, Any]) -> OwnLabels:
    """What the attributes of a store say of its own labels."""
    found = attrs.get(ATTRIBUTE)
    return found if isinstance(found, Mapping) else {}


@contextmanager
def present(own: OwnLabels) -> Iterator[None]:
    """Let ``label_info`` know the labels of a store while the block runs."""
    token = _present.set(own)
    try:
        yield
    finally:
        _present.reset(token)
