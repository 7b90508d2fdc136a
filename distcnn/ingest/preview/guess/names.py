"""What the names of columns and images tell: the role of each, and the arm of a spectrum."""

import re
from collections.abc import Sequence

ROLES = {
    "wavelength": r"(log_?)?(lam(bda)?|wave(length|len|obs)?s?|wl|wvl|loglam|awav)"
    r"([_ ]?[([]?(aa?|ang(strom)?s?|nm|um|vac(uum)?|air|obs)[])]?)*",
    "flux": r"(flux|fl?|flam|spec(trum)?|intensity|counts?|data|signal)",
    "error": r"(.*(ivar|invvar)|(.*_)?(err?(or)?|sig(ma)?|unc(ertainty)?|std|noise|var(iance)?)s?"
    r"(_.*)?|e_?flux|.*flux_?err)",
    "mask": r"(.*mask|.*flags?|qual(ity)?|dq|pixel_flags|bitmask)",
}
_ARMS = (
    ("B", "R", "Z"),
    ("B", "R"),
    ("BLUE", "GREEN", "RED"),
    ("BLUE", "RED"),
    ("UVB", "VIS", "NIR"),
)
_SPECTRUM = re.compile(r"^spec(trum|tra)?_(?=.)")
"""Begins the names of quantities of spectra beside those of stars."""


def roles_of(names: Sequence[str]) -> dict[str, str]:
    """Role -> the first name that fits it; wavelengths and errors before fluxes."""
    found: dict[str, str] = {}
    for role in ("wavelength", "mask", "error", "flux"):
        for name in names:
            last = _SPECTRUM.sub("", name.rpartition(".")[2].lower())
            if name not in found.values() and re.fullmatch(ROLES[role], last):
                found[role] = name
                break
    if "flux" not in found:
        rest = [n for n in names if n not in found.values() and "flux" in n.lower()]
        found |= {"flux": rest[0]} if rest else {}
    return found


def without_arm(name: str) -> str:
    """A name without ``{arm}``, or the arm that is the only one there."""
    arms = {"{ARM}", *(arm for several in _ARMS for arm in several)}
    parts = [part for part in name.upper().split("_") if part not in arms]
    return "_".join(parts).lower()


def arms_in(name: str, names: Sequence[str]) -> tuple[str, list[str]] | None:
    """A name with ``{arm}`` in it, and the arms for which there is such a name."""
    parts = re.split(r"(_)", name)
    for place, part in enumerate(parts):
        for arms in _ARMS:
            if part.upper() not in arms:
                continue
            text = "".join([*parts[:place], "{arm}", *parts[place + 1 :]])
            there = [arm for arm in arms if text.replace("{arm}", arm) in map(str.upper, names)]
            if len(there) > 1:
                return text, there
    return None
