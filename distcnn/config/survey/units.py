"""Units of wavelength: every usual spelling, and what it is called in the stores (VOUnit)."""

NANOMETRES = {"nm": 1.0, "Angstrom": 0.1, "um": 1e3, "mm": 1e6, "cm": 1e7, "m": 1e9}
"""Nanometres in each unit, by its name in VOUnit."""

_SPELLINGS = {
    "nm": ("nanometer", "nanometers", "nanometre", "nanometres"),
    # The sign of the unit and the letter of the alphabet look the same and are two characters.
    "Angstrom": (
        *("A", "AA", "\u00c5", "\u212b", "Ang", "Angs", "Angstroms", "Angstroem"),
        "\u00c5ngstr\u00f6m",
    ),
    # The micro sign and the Greek letter, likewise.
    "um": ("\u00b5m", "\u03bcm", "micron", "microns", "micrometer", "micrometre", "micrometers"),
    "mm": ("millimeter", "millimetre"),
    "cm": ("centimeter", "centimetre"),
    "m": ("meter", "metre", "meters", "metres"),
}
_CASELESS_LETTERS = 3
"""From this many letters on a spelling is known in any case: ``M`` is not ``m``."""


def _by_spelling() -> dict[str, str]:
    found = {}
    for name, others in _SPELLINGS.items():
        for spelling in (name, *others):
            found[spelling] = name
            if len(spelling) >= _CASELESS_LETTERS:
                found[spelling.lower()] = name
    return found


_NAMES = _by_spelling()


def wavelength_unit(text: str) -> str:
    """The name in VOUnit of a unit of wavelength, however it is spelt: ``"A"`` -> ``"Angstrom"``.

    Raises
    ------
    ValueError : it is no unit of length that is known; lists those that are, with the cure.
    """
    spelling = text.strip().strip("'\"").strip()
    name = _NAMES.get(spelling)
    if name is None and len(spelling) >= _CASELESS_LETTERS:
        name = _NAMES.get(spelling.lower())
    if name is not None:
        return name
    known = "; ".join(f"{unit} ({', '.join(_SPELLINGS[unit][:3])}, ...)" for unit in NANOMETRES)
    more = ""
    if "log" in spelling.lower():
        more = (
            "; of a grid that is even in log10, give the unit of its wavelengths and spacing: log"
        )
    raise ValueError(f"a unit of wavelength: {known}{more}")
