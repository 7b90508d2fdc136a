"""From predictions to what they are worth: baselines, checks, report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distcnn.config import Config, SerialConfig
from distcnn.errors import UsageError
from distcnn.events import Listener, silent
from distcnn.location import Address, Location
from distcnn.pipeline.running import must_exist, must_have_room, on_workers, places_of, with_places

if TYPE_CHECKING:
    from distcnn.checks import Checked
    from distcnn.clusters.base import ClusterExecutor
    from distcnn.evaluation import EvaluationData


@with_places
def compare_baselines(
    survey: Address,
    out: Address,
    package: Address,
    listener: Listener = silent,
    *,
    config: Config | None = None,
    methods: Sequence[str] = (),
) -> str:
    """Fit other methods on the split of ``package``; the table ``out`` has their labels.

    Beside it, with its stem, stand the judged table (``.ecsv``) and its figure (``.png``, ``.pdf``,
    ``.svg``). Returns the judged table for all S/N as text.
    """
    from distcnn.baselines import compare
    from distcnn.evaluation.baseline_table import TABLE_ENDING
    from distcnn.report.methods import write_judged_methods

    must_exist(survey, "a survey store")
    must_exist(package, "a package")
    if Location.parse(out).is_folder():
        raise UsageError(f"{out} is a folder", expected="the name of a table, baselines.parquet")
    if not str(out).endswith(TABLE_ENDING):
        raise UsageError(
            f"the table {out} would be Parquet, whatever its name says",
            expected=f"a name that ends in {TABLE_ENDING}",
            cure="What is printed is written beside it, too, as .ecsv.",
        )
    chosen = (config or Config()).compare
    table = compare(
        survey,
        out,
        package,
        listener,
        methods=methods or chosen.methods,
        max_stars=chosen.max_stars,
        seed=chosen.seed,
    )
    edges = (config or Config()).report.snr_edges
    return write_judged_methods(out, table, survey, edges)


@with_places
def write_report(
    predictions: Address,
    folder: Address,
    config: Config,
    listener: Listener = silent,
    *,
    survey: Address | None = None,
    package: Address | None = None,
    truth: Address | None = None,
    baselines: Address | None = None,
    checks: Address | None = None,
    tsne: Address | None = None,
    galaxy: Address | None = None,
) -> Path | Location:
    """Write the page and its numbers; returns the page.

    Survey, package, truth and baselines are looked for where the products say, results of checks
    and maps (folders ``checks``, ``tsne``, ``galaxy``) beside the predictions, unless given.
    """
    from distcnn import report
    from distcnn.evaluation import evaluate
    from distcnn.labels import of_attributes, present
    from distcnn.survey import Store

    report.choose_figures(config.report.figures)  # a wrong name is reported before the work
    report.choose_sections(config.report.sections)
    must_have_room(folder, "the report")
    data = _find_products(
        predictions,
        config,
        listener,
        survey=survey,
        package=package,
        truth=truth,
        baselines=baselines,
    )
    finished = report.find_finished(
        data, listener, baselines=baselines, checks=checks, tsne=tsne, galaxy=galaxy
    )
    with present(of_attributes(Store.open(data.predictions).attrs)):
        numbers, sample = evaluate(data, config.report, listener)
    shown = report.ReportData(data, numbers, sample, config.report, finished)
    return report.write_report(shown, folder, listener)


@with_places
def check_package(
    package: Address,
    survey: Address,
    out: Path,
    config: Config,
    listener: Listener = silent,
    *,
    names: Sequence[str] = (),
    predictions: Address | None = None,
    truth: Address | None = None,
    baselines: Address | None = None,
) -> "Checked":
    """Put the science checks ``names`` (every one if there are none) to a package on a survey.

    Answers are folders below ``out``. ``predictions``: of the same package and survey, for checks
    of finished predictions. The ``truth`` of a simulated survey is looked for in its archive.
    """
    from distcnn.checks import CheckInputs, choose_checks, origin_of, run_checks, waiting_checks
    from distcnn.evaluation import find_truth
    from distcnn.ingest.catalogue_table import read_catalogue
    from distcnn.model import Package
    from distcnn.survey import Store

    choose_checks(names)
    must_have_room(out, "answers")
    must_exist(package, "a package")
    must_exist(survey, "a survey store")
    data = None
    if predictions is not None:
        given = {"survey": survey, "package": package, "truth": truth, "baselines": baselines}
        data = _find_products(predictions, config, listener, **given)
    truth = truth or find_truth(survey)
    inputs = CheckInputs(
        Package.load(package),
        Store.open(survey, "survey"),
        config.checks,
        config.report,
        truth=truth,
        products=data,
        read_catalogue=read_catalogue,
    )

    origin = origin_of(inputs)

    def work(executor: "ClusterExecutor", watched: Listener) -> "Checked":
        asked = replace(inputs, executor=executor)
        return run_checks(asked, out, names, watched, origin=origin)

    # Finished answers need no workers.
    where = config.cluster if waiting_checks(out, names, origin) else SerialConfig()
    reads: dict[str, Address] = {"survey": survey, "package": package}
    return on_workers(where, config, listener, places_of(reads, out), work)


def _find_products(
    predictions: Address, config: Config, listener: Listener, **given: Address | None
) -> "EvaluationData":
    from distcnn.evaluation import find_products

    must_exist(predictions, "a prediction store")
    if given["baselines"] is not None:
        must_exist(given["baselines"], "a table of `distcnn compare`")
    show = config.report.baselines
    return find_products(predictions, listener, show_baselines=show, **given)
