"""Lines of the elements from 390 to 1700 nm, and which of them are a label's own.

Wavelengths in air [Angstrom] of lines that are used for abundances of late-type stars: NIST ASD;
optical: Heiter et al. 2021 (A&A 645, A106), Buder et al. 2021 (MNRAS 506, 150); H band: Smith et
al. 2013 (ApJ 765, 16), Shetrone et al. 2015 (ApJS 221, 24). Those of the RVS are the simulator's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from distcnn.air import to_air, to_vacuum
from distcnn.arrays import Array
from distcnn.schema import LIGHT_SPEED_KM_S
from distcnn.simulate.spectrum.linelist import (
    ALPHA_ELEMENTS,
    CALCIUM_TRIPLET,
    IRON_PEAK,
    named_lines,
)

STRONG, USUAL = 3.0, 1.0
"""Weights of lines: of those that dominate an element's signal, and of the others."""
LINE_SIGMA_KM_S, LINE_SIGMA_PIXELS = 12.0, 0.8
"""Width of a line in the template, the larger of both: 12 km/s is that of the RVS."""
RVS_STRONG_MILLIANGSTROM = 100.0
"""Solar equivalent width from which a line of the RVS range counts as strong."""

_STRONG = {
    "H": "4101.74 4340.47 4861.33 6562.80 16109.3 16407.2 16806.5",
    "Li": "6707.81",
    "C": "8335.15 9094.83 16004.9",
    "N": "7468.31 8680.28",
    "O": "6300.30 7771.94 7774.17 7775.39",
    "Na": "5889.95 5895.92 8183.26 8194.82 16388.85",
    "Mg": "5167.32 5172.68 5183.60 5528.41 8806.76 15740.72 15748.99 15765.84",
    "Al": "3944.01 3961.52 6696.02 6698.67 16718.96 16750.56 16763.36",
    "Si": "15888.41 15960.06 16094.79 16680.77",
    "S": "9212.86 9228.09 9237.54",
    "K": "7664.90 7698.96 15163.07 15168.38",
    "Ca": "3933.66 3968.47 4226.73 6122.22 6162.17 6439.08 16150.76 16157.36",
    "Sc": "4246.82 5526.79",
    "Ti": "4533.24 4981.73 4991.07 4999.50 15543.76 15715.57",
    "V": "4379.23 6243.10",
    "Cr": "4254.33 4274.80 4289.72 5204.51 5206.04 5208.42",
    "Mn": "4030.75 4033.06 4034.48 4823.52 6013.51 6016.67 6021.82 15217.85",
    "Fe": (
        "4045.81 4063.59 4071.74 4271.76 4383.54 4404.75 4957.60 5269.54 5328.04 5371.49"
        " 5397.13 5405.77 5429.70 5446.92 15294.56 15621.65 15648.51 16486.67"
    ),
    "Co": "5352.05 5647.23 6632.43 16757.64",
    "Ni": "5476.90 6767.77 7555.60 7788.94 16584.44 16589.30 16818.76",
    "Cu": "5105.54 5700.24 5782.13",
    "Zn": "4722.15 4810.53",
    "Rb": "7800.27",
    "Sr": "4077.71 4215.52 4607.33",
    "Y": "4883.68 5087.42 5662.92",
    "Zr": "4739.48 6127.44 6134.55 6143.20",
    "Mo": "5506.49",
    "Ba": "4554.03 4934.08 5853.67 6141.71 6496.90",
    "La": "4804.04 5303.53 6390.48",
    "Ce": "4562.36 5274.23 15784.75 16376.48",
    "Nd": "4811.34 5319.81 5842.37",
    "Sm": "4719.84 4854.37",
    "Eu": "4129.72 4205.04 6645.11",
}
_USUAL = {
    "Li": "6103.65",
    "C": "5052.17 5380.34 6587.61 7113.18 8727.13 9061.43 9078.28 16021.7",
    "N": "7442.30 8216.34 8223.14 8629.24 8683.40 8703.25 8711.70 8718.83",
    "O": "6158.18 6363.78 8446.36",
    "Na": "4982.81 5682.63 5688.20 6154.23 6160.75 16373.86",
    "Mg": (
        "4571.10 4702.99 4730.03 5711.09 6318.72 6319.24 7657.60 7691.55 8717.83 8736.02"
        " 15879.57 15886.18 15954.48"
    ),
    "Al": "5557.06 7835.31 7836.13 8772.87 8773.90",
    "Si": (
        "5645.61 5665.56 5684.48 5690.43 5701.10 5708.40 5772.15 5793.07 5948.54 6125.02 6142.48"
        " 6145.02 6155.13 6237.32 6243.82 6244.47 7405.77 7415.95 7423.50 7918.38 7932.35 8742.45"
        " 15361.16 15376.83 15833.60 16060.01 16215.67 16828.16"
    ),
    "S": "6743.54 6748.84 6757.15 15403.79 15422.28 15469.82 15478.48",
    "Ca": (
        "4283.01 4289.37 4302.53 4425.44 4434.96 4435.68 4454.78 4578.55 5261.70 5265.56 5349.47"
        " 5512.98 5581.97 5588.75 5590.11 5594.46 5601.28 5857.45 5867.56 6102.72 6161.30 6166.44"
        " 6169.04 6169.56 6449.81 6455.60 6471.66 6493.78 6499.65 6572.78 6717.69 7148.15 16136.82"
        " 16155.24"
    ),
    "Sc": "5031.02 5239.81 5641.00 5657.90 5667.15 5669.04 5671.82 5684.20 6245.64 6604.60",
    "Ti": (
        "4443.80 4468.49 4501.27 4533.97 4534.78 4548.76 4563.76 4571.97 4589.96 4617.27 4656.47"
        " 4681.91 4719.51 4758.12 4759.27 4764.52 4778.26 4781.71 4798.53 4820.41 4840.87 4865.61"
        " 4874.01 5016.16 5022.87 5024.84 5036.46 5039.96 5064.65 5129.16 5154.07 5173.74 5185.91"
        " 5192.97 5210.38 5226.54 5336.79 5381.02 5418.77 5426.25 5490.69 5689.46 5716.45 5720.44"
        " 5866.45 5922.11 5953.16 5965.83 5978.54 6126.22 6258.10 6261.10 6491.56 6554.22 6556.06"
        " 6599.11 6743.12 7251.71 15602.84 15698.98 16635.16"
    ),
    "V": (
        "4796.93 4831.64 4875.48 5627.63 5670.85 5703.58 5727.05 6039.73 6081.44 6090.21 6119.53"
        " 6135.36 6199.20 6216.35 6224.53 6251.82 6274.65 6285.15 6292.82 6531.41 15924.81"
    ),
    "Cr": (
        "4545.95 4558.65 4588.20 4616.12 4634.07 4646.15 4652.16 4718.43 4775.13 4789.34 4801.03"
        " 4848.25 5247.57 5296.69 5298.28 5345.80 5348.31 5409.78 5702.32 5719.82 5783.06 5787.92"
        " 5844.59 6330.09 6629.98 7400.25 7462.31 15680.06 15860.21"
    ),
    "Mn": "4754.04 4761.51 4765.85 4766.42 4783.43 5394.67 5420.35 5432.54 5470.64 15159.0 15262.4",
    "Fe": (
        "4132.06 4143.87 4307.90 4325.76 4415.12 4494.56 4528.61 4736.77 4788.76 4890.75 4891.49"
        " 4918.99 4920.50 4923.92 5006.12 5012.07 5018.44 5051.63 5079.74 5083.34 5110.41 5123.72"
        " 5127.36 5150.84 5151.91 5166.28 5169.03 5171.60 5191.45 5192.34 5194.94 5197.57 5216.27"
        " 5225.53 5227.19 5232.94 5234.62 5247.05 5250.21 5266.56 5270.36 5276.00 5283.62 5302.30"
        " 5307.36 5316.61 5324.18 5339.93 5341.02 5367.47 5369.96 5379.57 5383.37 5393.17 5415.20"
        " 5424.07 5425.25 5434.52 5445.04 5497.52 5501.47 5506.78 5569.62 5572.84 5576.09 5586.76"
        " 5615.64 5624.54 5638.26 5658.82 5662.52 5679.02 5701.54 5705.46 5731.76 5741.85 5753.12"
        " 5775.08 5778.45 5806.72 5809.22 5814.81 5849.68 5852.22 5855.08 5858.78 5859.59 5862.36"
        " 6003.01 6008.56 6024.06 6065.48 6136.61 6137.69 6151.62 6165.36 6173.33 6180.20 6191.56"
        " 6200.31 6213.43 6219.28 6229.23 6230.72 6232.64 6240.65 6246.32 6252.55 6254.26 6265.13"
        " 6270.22 6297.79 6301.50 6302.49 6318.02 6322.69 6335.33 6336.82 6344.15 6355.03 6380.74"
        " 6393.60 6400.00 6408.02 6411.65 6416.92 6421.35 6430.85 6432.68 6456.38 6475.62 6481.87"
        " 6494.98 6498.94 6516.08 6518.37 6546.24 6569.21 6574.23 6575.02 6592.91 6593.87 6597.56"
        " 6609.11 6627.54 6633.75 6663.44 6677.99 6703.57 6705.10 6710.32 6713.74 6725.36 6726.67"
        " 6733.15 6739.52 6750.15 6752.71 7583.79 7586.02 7710.36 7748.27 7780.56 7832.20 8757.19"
        " 8763.97 8793.34 8804.62 8824.22 8838.43 8846.74 15194.49 15207.53 15394.67 15395.72"
        " 15490.34 15631.95 15723.59 15964.87 15980.73 16006.76 16009.62 16040.66 16102.41 16115.97"
        " 16153.25 16165.03 16195.06 16198.50 16207.74 16316.32 16324.45 16398.17 16645.87"
    ),
    "Co": "4792.85 4813.48 5280.63 5369.59 6455.00 6771.03",
    "Ni": (
        "4714.42 4715.78 4752.43 4756.52 4806.98 4829.02 4866.27 4873.44 4904.41 4980.17 5017.57"
        " 5035.36 5080.53 5081.11 5084.09 5115.39 5137.08 5155.76 5578.72 5587.86 5589.36 5593.74"
        " 5625.32 5682.20 5694.98 5748.35 5754.66 5846.99 6108.12 6128.97 6176.81 6191.18 6223.98"
        " 6327.60 6482.80 6532.87 6586.31 6643.63 7122.20 7393.60 7414.50 7422.28 7522.76 7525.11"
        " 7574.05 7714.32 7727.61 7748.89 7797.59 15605.68 15632.65 16673.71 16815.47"
    ),
    "Cu": "5218.20 16005.7",
    "Zn": "4680.13 6362.34",
    "Y": "4854.86 4900.12 5200.41 5205.72 5289.81 5402.77 5544.61 5728.89",
    "Zr": "4772.31 4805.87 4815.05 4828.05 5112.27",
    "Mo": "5570.44",
    "La": "4748.73 4920.98 4921.78 5805.77 6262.29 6320.38 6774.27",
    "Ce": "4628.16 4773.94 5187.46 5330.56 6043.37 16595.18 16722.51",
    "Nd": "4706.54 4914.38 4959.12 5130.59 5234.19 5249.58 5255.51 5293.16 5740.86 5811.57",
    "Sm": "4566.20 4676.90 4777.85 4791.58",
    "Eu": "4435.58 4522.58 6437.64",
}
_RVS_NM = (846.0, 870.0)
_ALPHA_NAMES = ("alpham", "alphafe", "afe", "am", "alpha")
_METAL_NAMES = ("mh", "met", "metallicity", "m")
_METALS = (*IRON_PEAK, *ALPHA_ELEMENTS, "Mn", "V", "Co", "Na", "Al")
_OVER_IRON = re.compile(r"([a-z]{1,2})_?(?:fe|h|m)")
_ABSOLUTE = re.compile(r"a_([a-z]{1,2})|a(li)|([a-z]{1,2})[0-9]")


@dataclass(frozen=True)
class Lines:
    """``n`` lines as columns. ``element``: symbols; ``wavelength``: vacuum nm, ascending;
    ``weight``: ``STRONG`` or ``USUAL``.
    """

    element: Array
    wavelength: Array
    weight: Array

    def __len__(self) -> int:
        return len(self.wavelength)

    def of(self, elements: Sequence[str]) -> "Lines":
        """Those of some elements."""
        mine = np.isin(self.element, list(elements))
        return Lines(self.element[mine], self.wavelength[mine], self.weight[mine])

    def within(self, first: float, last: float) -> "Lines":
        """Those between two wavelengths, vacuum nm."""
        mine = (self.wavelength >= first) & (self.wavelength <= last)
        return Lines(self.element[mine], self.wavelength[mine], self.weight[mine])


@lru_cache(maxsize=1)
def known_lines() -> Lines:
    """All lines, in order of wavelength."""
    rows = [*_listed(_STRONG, STRONG), *_listed(_USUAL, USUAL), *_of_the_rvs()]
    rows.sort(key=lambda row: row[1])
    element, wavelength, weight = zip(*rows, strict=True)
    return Lines(np.array(element), np.array(wavelength), np.array(weight))


def _listed(table: dict[str, str], weight: float) -> list[tuple[str, float, float]]:
    rows = []
    for element, text in table.items():
        vacuum = to_vacuum(np.array(text.split(), float) / 10)
        outside = (vacuum < _RVS_NM[0]) | (vacuum > _RVS_NM[1])
        rows += [(element, value, weight) for value in vacuum[outside].tolist()]
    return rows


def _of_the_rvs() -> list[tuple[str, float, float]]:
    rows = [("Ca", wavelength, STRONG) for wavelength in CALCIUM_TRIPLET]
    for element, air, milliangstrom in named_lines():
        weight = STRONG if milliangstrom >= RVS_STRONG_MILLIANGSTROM else USUAL
        rows.append((element, float(to_vacuum(np.array([air / 10]))[0]), weight))
    return rows


def elements_of(label: str) -> tuple[str, ...]:
    """Elements whose lines are a label's own, by its name; none of temperature or gravity.

    ``mgfe``, ``mg_fe``, ``mgh``: Mg; ``ali``, ``a_li``, ``li1``: Li; ``alpham``: alpha elements;
    ``mh``: all metals.
    """
    name = label.lower()
    if name in _ALPHA_NAMES:
        return (*ALPHA_ELEMENTS, "O")
    if name in _METAL_NAMES:
        return _METALS
    symbols = {symbol.lower(): symbol for symbol in _STRONG}
    over_iron, absolute = _OVER_IRON.fullmatch(name), _ABSOLUTE.fullmatch(name)
    if over_iron and over_iron.group(1) in symbols:
        return (symbols[over_iron.group(1)],)
    found = next(filter(None, absolute.groups())) if absolute else ""
    return (symbols[found],) if found in symbols else ()


def in_medium(lines: Lines, medium: str) -> Array:
    """Wavelengths [n] of lines in ``air`` or ``vacuum``, nm."""
    return to_air(lines.wavelength) if medium == "air" else lines.wavelength


def covered_lines(wavelength: Array, medium: str = "vacuum") -> Lines:
    """Known lines that fall on pixels of a grid [P], nm, which may have gaps between windows."""
    lines = known_lines()
    places = in_medium(lines, medium)
    near = _nearest(wavelength, places)
    on = np.abs(wavelength[near] - places) <= local_step(wavelength)[near]
    return Lines(lines.element[on], lines.wavelength[on], lines.weight[on])


def local_step(wavelength: Array) -> Array:
    """Width of each pixel [P], that of the nearer neighbour: beside a gap the other is far."""
    steps = np.diff(wavelength)
    return np.asarray(np.minimum(np.append(steps, np.inf), np.append(np.inf, steps)))


def _nearest(wavelength: Array, places: Array) -> Array:
    right = np.clip(np.searchsorted(wavelength, places), 1, len(wavelength) - 1)
    nearer = places - wavelength[right - 1] < wavelength[right] - places
    return np.asarray(np.where(nearer, right - 1, right))


def template(lines: Lines, wavelength: Array, medium: str = "vacuum") -> Array:
    """Where the lines stand on a grid [P]: a sum of Gaussians of their weights, float64 [P].

    Parameters
    ----------
    wavelength : of the pixels, nm, ascending.
    """
    out = np.zeros(len(wavelength))
    step, places = local_step(wavelength), in_medium(lines, medium)
    for centre, weight, place in zip(
        places, lines.weight, _nearest(wavelength, places), strict=True
    ):
        width = max(LINE_SIGMA_KM_S / LIGHT_SPEED_KM_S * centre, LINE_SIGMA_PIXELS * step[place])
        first, last = np.searchsorted(wavelength, (centre - 5 * width, centre + 5 * width))
        near = slice(int(first), int(last))
        out[near] += weight * np.exp(-0.5 * ((wavelength[near] - centre) / width) ** 2)
    return out
