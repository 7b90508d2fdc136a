"""Answers of the checks that compare labels with labels: which stars, and what is put beside.

Stars with a flag that says not to rely on them are left out, but for halo stars: there a flag
must not hide a bias.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from distcnn.arrays import Array
from distcnn.checks.base import FIGURE, Answer, AnswerRow, Verdict
from distcnn.checks.comparison.clusters import cluster_rows, judge_clusters
from distcnn.checks.comparison.external import (
    TREND_AXES,
    MatchedStars,
    external_rows,
    judge_external,
)
from distcnn.checks.comparison.figures import (
    draw_clusters,
    draw_external,
    draw_halo,
    draw_repeats,
    draw_stability,
)
from distcnn.checks.comparison.halo import (
    HALO_DEX,
    METALLICITY_EDGES_DEX,
    SNR,
    halo_rows,
    judge_halo,
    metallicity_column,
)
from distcnn.checks.comparison.matching import match_identifiers, match_sky
from distcnn.checks.comparison.repeats import (
    MAX_RATIO,
    judge_repeats,
    repeat_deviations,
    repeat_rows,
)
from distcnn.checks.comparison.stability import (
    MAX_RATIO as MAX_CHANGE,
)
from distcnn.checks.comparison.stability import judge_stability, stability_rows
from distcnn.checks.inputs import CheckInputs, bands_of
from distcnn.checks.predictor import PackagePredictor, PredictedStars, read_rows
from distcnn.checks.stars import StarTable
from distcnn.config import CatalogueConfig
from distcnn.errors import UsageError
from distcnn.model import Package
from distcnn.survey import Region, Store

CLUSTER = "cluster"


def answer_halo(inputs: CheckInputs) -> Answer:
    """Of the stars outside training whose reference is metal-poor, at the S/N in question."""
    names, table = inputs.labels, inputs.table
    column = metallicity_column(names)
    if column is None:
        return judge_halo(names, ())
    metallicity = table.reference[:, column]
    wanted = table.held_out & (table.defect == "") & (table.snr >= SNR[0]) & (table.snr < SNR[1])
    wanted &= (metallicity >= METALLICITY_EDGES_DEX[0]) & (metallicity < METALLICITY_EDGES_DEX[-1])
    # All halo stars, and of the many others as many as there is room for.
    most = inputs.config.stars
    halo = table.drawn(wanted & (metallicity < HALO_DEX), most)
    disc = table.drawn(wanted & (metallicity >= HALO_DEX), most // 4)
    stars = StarTable.joined([halo, disc])
    if not len(stars):
        return judge_halo(names, ())
    found = inputs.predict(stars)
    rows = halo_rows(names, found.label, found.label_error, stars.reference, stars.snr)
    judged = judge_halo(names, rows)
    return replace(judged, figures={FIGURE: partial(draw_halo, rows, names)} if rows else {})


def answer_repeats(inputs: CheckInputs) -> Answer:
    """Of stars that stand in the survey more than once, or in the other one that is named."""
    table = inputs.table
    _, place, count = np.unique(table.source_id, return_inverse=True, return_counts=True)
    again = table.drawn((count[place] > 1) & (table.defect == ""), inputs.config.stars)
    ids, found, snr = [again.source_id], [], [again.snr]
    if len(again):
        found.append(inputs.predict(again))
    if inputs.config.repeated is not None:
        for star, labels, signal in _observed_again(inputs, inputs.config.repeated):
            ids.append(star)
            found.append(labels)
            snr.append(signal)
    if not found:
        return judge_repeats(())
    labels = PredictedStars.joined(found)
    usable = labels.usable
    star, signal, labels = (
        np.concatenate(ids)[usable],
        np.concatenate(snr)[usable],
        labels.take(usable),
    )
    names, edges = inputs.labels, inputs.report.snr_edges
    rows = repeat_rows(names, star, labels.label, labels.label_error, snr=signal, edges=edges)
    columns = zip(labels.label.T, labels.label_error.T, strict=True)
    deviations = [repeat_deviations(star, *map(_double, column))[0] for column in columns]
    draw = partial(draw_repeats, deviations, rows, names, MAX_RATIO)
    return replace(judge_repeats(rows), figures={FIGURE: draw} if rows else {})


def _double(values: Array) -> Array:
    return np.asarray(values, float)


def _observed_again(
    inputs: CheckInputs, address: str
) -> Iterator[tuple[Array, PredictedStars, Array]]:
    """Stars of the survey that another survey or prediction store has too, here and there:
    identifiers [N], predictions, S/N [N].

    Raises
    ------
    UsageError : predictions of another package, or without these labels.
    """
    other = Store.open(address)
    if other.attrs.get("kind") != "survey":
        _check_package(inputs, other)
    known = other.read(Region(0, other.stars), ["source_id", "snr"])
    table = inputs.table
    clean = (table.defect == "") & np.isin(table.source_id, known["source_id"])
    stars = table.drawn(clean, inputs.config.stars)
    rows = np.flatnonzero(np.isin(known["source_id"], stars.source_id))
    if not len(stars):
        return
    yield stars.source_id, inputs.predict(stars), stars.snr
    if other.attrs.get("kind") == "survey":
        predictor = PackagePredictor(inputs.package, bands_of(other), inputs.executor)
        found = [predictor.of_blocks(read_rows(other, rows, predictor.variables))]
    else:
        found = _stored(other, rows)
    yield known["source_id"][rows], PredictedStars.joined(found), known["snr"][rows]


def _check_package(inputs: CheckInputs, store: Store) -> None:
    made_by = store.attrs.get("package", {}).get("digest")
    if made_by != inputs.package.digest:
        raise UsageError(
            f"{store.location} was predicted by the package {str(made_by)[:12]}",
            expected=f"predictions of the package that is checked, {inputs.package.digest[:12]}",
            cure="Predict that survey with this package, or give the survey itself.",
        )


def _stored(store: Store, rows: Array) -> list[PredictedStars]:
    names = ["label", "label_error", "label_noise", "label_scatter", "flags"]
    blocks = read_rows(store, rows, names)
    return [PredictedStars(*(block[name] for name in names)) for block in blocks]


def answer_stability(inputs: CheckInputs) -> Answer:
    """Of stars that neither training used; without a second package, of the ensemble's halves."""
    table, config = inputs.table, inputs.config
    clean = table.held_out & (table.defect == "")
    if config.retrained is None:
        return answer_of_halves(inputs, table.drawn(clean, config.stars))
    second = Package.load(config.retrained)
    if second.digest == inputs.package.digest:
        return Answer(Verdict.UNDECIDED, "no second training: checks.retrained is the same package")
    other = replace(inputs, package=second)
    stars = table.drawn(clean & other.table.held_out, config.stars)
    if not len(stars):
        return Answer(Verdict.UNDECIDED, "no star is outside of both trainings")
    first, again = inputs.predict(stars), other.predict(stars)
    names = [name for name in inputs.labels if name in second.labels]
    columns = [second.labels.index(name) for name in names]
    return _judged_stability(inputs, stars, first, again.label[:, columns], names)


def answer_of_halves(inputs: CheckInputs, stars: StarTable) -> Answer:
    """The labels of every other member against those of the rest.

    Each half has half the members, so that they differ by 2^1/2 times more than two such
    ensembles would.
    """
    if inputs.package.size < 2 or inputs.package.student or not len(stars):
        return Answer(
            Verdict.UNDECIDED,
            "no second training to compare with: name one by checks.retrained",
        )
    found = inputs.predict(stars)
    blocks = read_rows(inputs.survey, stars.row, inputs.predictor.variables)
    even, odd = inputs.predictor.halves(blocks)
    again = found.label + (odd - even) / np.sqrt(2)
    answer = _judged_stability(inputs, stars, found, again, list(inputs.labels))
    note = "of the halves of the ensemble (other seeds; checks.retrained names a second training)"
    if inputs.package.stacking() is not None:
        note += (
            ", which share the regressions beside the networks: what another training would make "
            "of these is not in it"
        )
    return replace(answer, sentence=f"{answer.sentence}; {note}")


def _judged_stability(
    inputs: CheckInputs, stars: StarTable, first: PredictedStars, again: Array, names: list[str]
) -> Answer:
    usable = first.usable
    stars, first, again = stars.take(usable), first.take(usable), again[usable]
    columns = [inputs.labels.index(name) for name in names]
    label, error = first.label[:, columns], first.label_error[:, columns]
    rows = stability_rows(
        names,
        label,
        again,
        error=error,
        scatter=first.scatter[:, columns],
        snr=stars.snr,
        edges=inputs.report.snr_edges,
    )
    changes = list(((again - label) / error).T)
    draw = partial(draw_stability, changes, rows, names, MAX_CHANGE)
    return replace(judge_stability(rows), figures={FIGURE: draw} if rows else {})


def answer_external(inputs: CheckInputs) -> Answer:
    """Against every catalogue that names labels of the package."""
    answers = {}
    rows: list[AnswerRow] = []
    figures: dict[str, Callable[[], Figure]] = {}
    for catalogue in inputs.config.catalogues:
        if not any(name in catalogue.columns for name in inputs.labels):
            continue
        stars = match_catalogue(inputs, catalogue)[0]
        found = external_rows(stars, inputs.report.snr_edges)
        answers[catalogue.title] = judge_external(found, catalogue.title)
        rows += [{"catalogue": catalogue.title, **row} for row in found]
        if len(stars.label):
            name = FIGURE if not figures else f"{FIGURE}_{len(figures) + 1}"
            figures[name] = partial(draw_external, stars, catalogue.title)
    if not answers:
        return Answer(
            Verdict.UNDECIDED, "no catalogue with such labels: name some by checks.catalogues"
        )
    return replace(_of_all(list(answers.values()), rows), figures=figures)


def answer_clusters(inputs: CheckInputs) -> Answer:
    """Of the members of clusters that a catalogue names."""
    for catalogue in inputs.config.catalogues:
        if CLUSTER not in catalogue.columns:
            continue
        stars, cluster = match_catalogue(inputs, catalogue)
        rows = cluster_rows(stars.names, cluster, stars.label, stars.label_error)
        draw = partial(draw_clusters, rows, catalogue.title)
        answer = judge_clusters(rows, catalogue.title)
        return replace(answer, figures={FIGURE: draw} if rows else {})
    return Answer(
        Verdict.UNDECIDED, "no catalogue of members of clusters: name one by checks.catalogues"
    )


def _of_all(answers: list[Answer], rows: list[AnswerRow]) -> Answer:
    """One answer of those of several catalogues: failed if one fails, passed if all do."""
    verdicts = [answer.verdict for answer in answers]
    order = (Verdict.FAILED, Verdict.UNDECIDED, Verdict.PASSED)
    verdict = next(v for v in order if v in verdicts)
    first = sorted(answers, key=lambda answer: order.index(answer.verdict))
    told = [answer.sentence for answer in first if verdict is answer.verdict or verdict is order[1]]
    return Answer(verdict, ". ".join(told), rows)


def match_catalogue(inputs: CheckInputs, catalogue: CatalogueConfig) -> tuple[MatchedStars, Array]:
    """Predicted stars with their labels in a catalogue, and the cluster of each [N].

    Stars that training used count as well: it never saw the catalogue.

    Raises
    ------
    UsageError : nobody can read catalogues here.
    """
    if inputs.read_catalogue is None:
        raise UsageError("catalogues cannot be read here", expected="`distcnn check`")
    table, labels = inputs.table, [n for n in inputs.labels if n in catalogue.columns]
    rows = inputs.read_catalogue(catalogue, labels)
    if catalogue.match == "position":
        places = (table.ra, table.dec, rows["ra"], rows["dec"])
        here, there, _ = match_sky(*places, radius_arcsec=catalogue.radius_arcsec)
    else:
        here, there = match_identifiers(table.source_id, rows["source_id"])
    clean = np.full(len(table), -1)
    clean[here] = there
    stars = table.drawn((clean >= 0) & (table.defect == ""), inputs.config.stars)
    mine = clean[np.searchsorted(table.row, stars.row)]
    return _matched(inputs, stars, labels, {name: v[mine] for name, v in rows.items()})


def _matched(
    inputs: CheckInputs, stars: StarTable, labels: list[str], rows: dict[str, Array]
) -> tuple[MatchedStars, Array]:
    names = tuple(labels) or inputs.labels
    columns = [inputs.labels.index(name) for name in names]
    if not len(stars):
        empty = np.empty((0, len(names)))
        return MatchedStars(names, empty, empty, empty, empty, np.empty(0), {}), np.empty(0, object)
    found = inputs.predict(stars)
    usable = found.usable
    stars, found = stars.take(usable), found.take(usable)
    rows = {name: values[usable] for name, values in rows.items()}
    label, error = found.label[:, columns], found.label_error[:, columns]
    missing = np.full(len(stars), np.nan)
    reference = np.stack([rows.get(name, missing) for name in names], axis=1)
    theirs = np.stack([rows.get(f"{name}_error", missing) for name in names], axis=1)
    axes = {}
    for name in (name for name in TREND_AXES if name in inputs.labels):
        mine = found.label[:, inputs.labels.index(name)]
        # Half-way between both: along either alone its noise would make a trend.
        axes[name] = (mine + rows[name]) / 2 if name in rows else mine
    return MatchedStars(names, label, error, reference, theirs, stars.snr, axes), rows[CLUSTER]
