"""Decision: whether values lie beyond their limits, within them, or too near for so few stars.

A verdict must not depend on how many stars there are: more of them may decide what was open, and
never turn a yes into a no. So a value must be within its limit by its sampling error, too, as in
tests of equivalence (Schuirmann 1987, J. Pharmacokin. Biopharm. 15, 657), and what is left open
says how many stars would decide it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy import stats

from distcnn.checks.base import AnswerRow, Verdict
from distcnn.labels import label_info

BEYOND_SIGMA = 3.0
"""Sampling errors beyond a limit from which a value fails: a check asks of many values at once."""
WITHIN_SIGMA = 1.64
"""Sampling errors within a limit from which a value is shown to hold, of 95 %. All must be, so one
that does not hold passes by chance in one of twenty checks at most."""
MIN_STARS = 30
"""Values of fewer stars are open: their sampling error is not known well."""
MIN_SHARE = 0.03
"""Bins of S/N with a smaller part of a label's stars are told and never judged, however many there
are: a survey that has few such stars is judged by the others."""
ROBUST_SCATTER_ERROR = 1.17
"""Sampling error of 1.48 MAD of Gaussian values, times the root of their number, in units of it:
its variance is 2.7 times that of the standard deviation."""
WIDTH_68_ERROR = 0.96
"""The same of the 68 % quantile of absolute values."""
MEDIAN_ERROR = 1.2533
"""The same of a median, in units of the standard deviation."""
MOST_STARS = 1e6
"""Values that would need more are too near their limit to be decided at all."""
SIGMA_OUTSIDE = "sigma_outside"
"""Column of a value's distance from its limit in sampling errors, positive beyond it."""


def sigma_outside(value: float, limit: float, error: float) -> float:
    """Sampling errors by which ``value`` lies above ``limit``; negative below."""
    # So that a table holds it as JSON does: of no error at all it is large, not infinite.
    return min(max((value - limit) / max(error, 1e-30), -1e9), 1e9)


def small_sample(sigma: float, stars: int) -> float:
    """The Gaussian sigma of the same probability as Student's t of the mean of few stars."""
    if stars < 2:
        return 0.0
    return float(math.copysign(stats.norm.isf(stats.t.sf(abs(sigma), stars - 1)), sigma))


@dataclass(frozen=True)
class Decision:
    """Rows of a check by what became of them.

    Attributes
    ----------
    failed, held, open : beyond their limits, within them, neither.
    least : stars from which on a row is judged. ``count`` : column of their number.
    """

    failed: tuple[AnswerRow, ...]
    held: tuple[AnswerRow, ...]
    open: tuple[AnswerRow, ...]
    least: int
    count: str

    @property
    def judged(self) -> tuple[AnswerRow, ...]:
        """All that had stars enough to be judged, decided or not."""
        enough = [row for row in self.open if float(row[self.count]) >= self.least]
        return (*self.failed, *self.held, *enough)

    @property
    def verdict(self) -> Verdict:
        """Failed if one value is, passed if all hold."""
        if self.failed:
            return Verdict.FAILED
        return Verdict.UNDECIDED if self.open or not self.held else Verdict.PASSED

    def note(self, place: Callable[[AnswerRow], str]) -> str:
        """What is open, for the end of a sentence; ``place`` names a row. Empty if nothing is."""
        if not self.open:
            return ""
        whole = len(self.failed) + len(self.held) + len(self.open)
        nearest = min(self.open, key=self._stars_needed)
        return (
            f"; {len(self.open)} of {whole} not decided, of which {place(nearest)} needs the "
            f"fewest stars: {self._what_decides(nearest)}"
        )

    def _what_decides(self, row: AnswerRow) -> str:
        needed, there = self._stars_needed(row), float(row[self.count])
        if there < self.least:  # how many would decide it is not known before
            return f"it is judged of {needed:,.0f} stars and more, there are {there:,.0f}"
        if needed >= MOST_STARS:
            return f"too near the limit for any number of stars ({there:,.0f})"
        return f"about {float(f'{needed:.2g}'):,.0f} stars would decide it, there are {there:,.0f}"

    def _stars_needed(self, row: AnswerRow) -> float:
        stars, sigma = float(row[self.count]), float(row[SIGMA_OUTSIDE])
        if stars < self.least:
            return float(self.least)
        asked = BEYOND_SIGMA if sigma > 0 else WITHIN_SIGMA
        return stars * (asked / max(abs(sigma), 1e-6)) ** 2


def decide(
    rows: Sequence[AnswerRow],
    *,
    least: int = MIN_STARS,
    count: str = "stars",
    min_share: float = MIN_SHARE,
) -> Decision:
    """Sort rows by their ``sigma_outside``.

    Parameters
    ----------
    least : stars from which on a row is judged; rows of fewer are open.
    count : column of the number of stars.
    min_share : rows with a smaller part of the most stars of any row of their label are left out.
    """
    most: dict[object, float] = {}
    for row in rows:
        most[row.get("label")] = max(most.get(row.get("label"), 0.0), float(row[count]))
    failed: list[AnswerRow] = []
    held: list[AnswerRow] = []
    unknown: list[AnswerRow] = []
    for row in rows:
        stars, sigma = float(row[count]), float(row[SIGMA_OUTSIDE])
        if stars < min_share * most[row.get("label")]:
            continue
        if stars < least:
            unknown.append(row)
        elif sigma > BEYOND_SIGMA:
            failed.append(row)
        else:
            (held if sigma <= -WITHIN_SIGMA else unknown).append(row)
    return Decision(tuple(failed), tuple(held), tuple(unknown), least, count)


def unit_after(row: AnswerRow) -> str:
    """The unit of a row's label with a space before it, for numbers in it; empty if it has none."""
    unit = label_info(str(row["label"])).unit
    return f" {unit}" if unit else ""


def label_and_snr(row: AnswerRow) -> str:
    """How most checks name a row."""
    snr = row["snr"]
    return f"{row['label']} at S/N {f'{snr:g}' if isinstance(snr, float) else snr}"
