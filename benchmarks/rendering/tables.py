"""Tables of the documents, each made of one result: its JSON in, lines of Markdown out.

What a result does not have (Keras was not asked for, nothing was run without Dask) has no row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lib.judge import NARROW

from distcnn.schema import LABELS, Flag

Result = dict[str, Any]
Row = Sequence[str]
COVERED, APART = 0.68, 0.04
"""Share of stars within a right error, and by how much a bin may miss it."""


def markdown(head: Row, rows: Iterable[Row]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def origin(result: Result, *facts: str) -> str:
    """The line above a table: hardware, commit, day, facts and load."""
    words = [f"**{result['hardware']}**", f"commit {result['commit'] or 'unknown'}"]
    words += [result["date"][:10]] if "date" in result else []
    load = result.get("load")
    if isinstance(load, list):
        facts = (*facts, f"load {load[0]:.1f} before and {load[1]:.1f} after")
    return ", ".join([*words, *facts]) + ":"


def numbers(results: Mapping[str, Sequence[Result]]) -> str:
    """Five numbers for who reads only one page, each with the conditions it was measured under."""
    # Accuracy is that of the newest run, whatever it ran on; speed that of every hardware.
    told = {kind: list(results.get(kind, [])) for kind in _FIRST}
    told["accuracy"] = sorted(told["accuracy"], key=lambda one: str(one.get("date", "")))[-1:]
    rows = [row for kind, tell in _FIRST.items() for one in told[kind] for row in tell(one)]
    return markdown(("", "measured", "on"), rows)


def flags() -> str:
    """The reasons for caution, as every product names them."""
    return markdown(
        ("bit", "flag", "meaning", "labels it is about", "others"),
        ((str(f.value), f.name, f.sentence, f.own.sentence, f.others.sentence) for f in Flag),
    )


def clusters(kits: Sequence[Result]) -> str:
    """Which backend passes which check of the conformance kit, with the seconds it took."""
    if not kits:
        return "Not measured yet: `python benchmarks/clusters.py` does it."
    names = dict.fromkeys(name for kit in kits for name in kit["checks"])
    rows = [
        (
            name.removeprefix("test_").replace("_", " "),
            *(_check(kit["checks"].get(name)) for kit in kits),
        )
        for name in names
    ]
    rows.append(("checks of the executor alone", *(_executor_checks(kit) for kit in kits)))
    reasons = {
        f"{kit['backend']}: {check['reason'].removeprefix('Skipped: ')}"
        for kit in kits
        for check in kit["checks"].values()
        if check and check["outcome"] == "skipped"
    }
    lines = (
        [f"Seconds; skipped where it cannot be: {'; '.join(sorted(reasons))}."] if reasons else []
    )
    lines += [markdown(("check", *(kit["backend"] for kit in kits)), rows)]
    lines += [f"{kit['backend']}: {origin(kit)[:-1]}, {_company(kit)}." for kit in kits]
    return "\n\n".join(lines)


def _company(kit: Result) -> str:
    """What ran beside; a kit from a longer run of tests shared the cores with them."""
    return "from a longer run of tests" if kit["load"] is None else f"load {kit['load']:.0f}"


def _check(check: Mapping[str, Any] | None) -> str:
    if check is None:
        return ""
    return f"{check['seconds']:.0f}" if check["outcome"] == "passed" else str(check["outcome"])


def _executor_checks(kit: Result) -> str:
    one = kit["executor"]
    total = one["passed"] + one["failed"] + one["skipped"]
    return f"{one['passed']} of {total}, {one['seconds']:.0f}" if total else ""


def _accuracy_numbers(result: Result) -> Iterator[Row]:
    found, ours = _cells(result["table"]), result["packages"]["hybrid"]
    labels = _labels(result["table"])
    on = (
        f"{result['judged']:,} simulated stars; {ours['members']} members trained on "
        f"{ours['stars']['stars']['train']:,}"
    )
    for bin_ in ("15-25", ">50"):
        told = ", ".join(f"{_title(name)} {_std(found[name, bin_])}" for name in labels)
        yield f"Standard deviation from the truth, S/N {bin_}", told, on
    covered = [100 * found[name, "all"]["within_68"] for name in labels]
    yield "Stars within their 68 % error", f"{min(covered):.1f} to {max(covered):.1f} %", on


def _speed_numbers(result: Result) -> Iterator[Row]:
    best = _by_workers(result)[0]
    on = (
        f"{result['hardware']}, {result['cores']} cores, {result['members']} members, "
        f"{result['stars']:,} stars from store to store"
    )
    yield "`predict`", f"{best['stars_per_second']:,} stars/s", on
    naive = result["naive"]["stars_per_second"]
    over = f"{result['ratio_to_naive']:.2f} times a plain loop ({naive:,.0f} stars/s)"
    yield "The same over what a notebook does", over, "the same run"


_FIRST = {"accuracy": _accuracy_numbers, "inference": _speed_numbers}


def ways(workers: int) -> str:
    """How regions were shared out."""
    return f"{workers} worker{'s'[: workers > 1]}" if workers else "without Dask"


def speed(result: Result) -> str:
    """Inference: one line per thing that was measured."""
    facts = (
        f"{result['cores']} cores",
        f"{result['members']} members",
        f"{result['pixels']} pixels",
        f"{result['stars']:,} stars",
    )
    rows = (*_runs(result), *_ratios(result), *_inside(result))
    return origin(result, *facts) + "\n\n" + markdown(("", "measured", "how"), rows)


def _by_workers(result: Result) -> list[Result]:
    return sorted(result["runs"].values(), key=lambda run: -run["workers"])


def _runs(result: Result) -> Iterator[Row]:
    for run in _by_workers(result):
        count, load = len(run["seconds"]), sum(run["load"]) / len(run["load"])
        how = (
            f"median of {count} runs, spread {100 * run['spread']:.0f} %" if count > 1 else "1 run"
        )
        number = f"{run['stars_per_second']:,} stars/s"
        yield f"End to end, {ways(run['workers'])}", number, f"{how}, load {load:.1f}"


def _ratios(result: Result) -> Iterator[Row]:
    naive, one = result["naive"], result["naive_per_core"]
    all_cores = f"{naive['stars_per_second']:,.0f} stars/s with {naive['threads']} threads"
    yield "Over the plain loop, all cores", f"{result['ratio_to_naive']:.2f}", all_cores
    per_core = f"{one['stars_per_cpu_second']:,.0f} stars per CPU second with 1 thread"
    yield "Over the plain loop, per core", f"{result['ratio_to_naive_per_core']:.2f}", per_core
    if keras := result.get("keras"):
        how = (
            f"`model.predict`, TensorFlow {keras['tensorflow']}: "
            f"{keras['stars_per_second']:,.0f} stars/s with {keras['threads']} threads in batches "
            f"of {keras['batch']:,}{', XLA' if keras['xla'] else ''}, "
            f"within {keras['parity']:.2g} label errors of ours"
        )
        yield "Over Keras, all cores", f"{result['ratio_to_keras']:.2f}", how
        plain = result["stars_per_second"] / keras["as_it_comes"]
        how = f"{keras['as_it_comes']:,.0f} stars/s in batches of 32"
        yield "Over Keras as it comes", f"{plain:.2f}", how
    runs = {run["workers"]: run["stars_per_second"] for run in _by_workers(result)}
    for few, many in ((0, 1), *((1, count) for count in sorted(runs) if count > 1)):
        if few in runs and many in runs:
            yield f"{ways(many)} over {ways(few)}", f"{runs[many] / runs[few]:.2f}", ""


def _inside(result: Result) -> Iterator[Row]:
    best, limits, first = _by_workers(result)[0], result["ceilings"], result["first_star"]
    if "computing_alone" in best:
        how = f"{best['computing_alone']:,} stars/s: network, errors and flags of stars in memory"
        share = f"{best['end_to_end_to_computing']:.2f}"
        yield f"End to end over computing alone, {ways(best['workers'])}", share, how
    memory = f"{best['memory'] / 1e6:,.0f} MB"
    yield "Memory of a worker", memory, "largest resident size"
    if first:
        how = "from the start of a process to its first labels; cold: engines are tried first"
        yield "First star", f"{first['warm']:.1f} s, cold {first['cold']:.1f} s", how
    matmul = (
        f"a core's float32 products would do for {limits['matmul_stars_per_s']:,} stars/s, "
        f"its decoding for {limits['decode_stars_per_s']:,}; {result['binding']} binds"
    )
    percent = (
        f"{result['percent_of_matmul']} % of products, {result['percent_of_decode']} % of decoding"
    )
    yield "Of the measured ceilings", percent, matmul
    how = (
        f"within {result['parity']:.2g} label errors of the package; "
        f"{result['identical']:,} of {result['recomputed']:,} stars the same when computed again"
    )
    yield "Engine", result["engine"], how


def accuracy(result: Result) -> str:
    """Scatter, bound and coverage of our network."""
    ours = result["packages"]["hybrid"]
    facts = (
        f"{result['simulation']['stars']:,} stars simulated",
        f"{ours['members']} members trained on {ours['stars']['stars']['train']:,}",
        f"{result['judged']:,} stars judged",
    )
    head = ("", "S/N 15-25", "ratio", "S/N > 50", "ratio", "within the 68 % error, all")
    rows = []
    found = _cells(result["table"])
    for name in _labels(result["table"]):
        scatter = [
            text
            for bin_ in ("15-25", ">50")
            for text in (_std(found[name, bin_]), _with_error(found[name, bin_], "ratio"))
        ]
        whole = _with_error(found[name, "all"], "within_68", 100, ".1f")
        rows.append([_title(name), *scatter, f"{whole} %"])
    return "\n\n".join([origin(result, *facts), markdown(head, rows), _coverage(result["table"])])


def _cells(rows: Sequence[Result]) -> dict[tuple[str, str], Result]:
    return {(row["label"], row["snr"]): row for row in rows}


def _labels(rows: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(row["label"] for row in rows))


def _title(name: str) -> str:
    unit = LABELS[name].unit
    return LABELS[name].symbol + (f" [{unit}]" if unit == "K" else "")


def _std(row: Result) -> str:
    kelvin = LABELS[row["label"]].unit == "K"
    return _with_error(row, "std", 1, *((".0f", ".1f") if kelvin else (".3f", ".4f")))


def _with_error(
    row: Result, key: str, factor: float = 1, form: str = ".2f", finer: str | None = None
) -> str:
    """A number, with its standard error where a result has it."""
    error = row.get(f"{key}_error")
    told = "" if error is None else f" +- {factor * error:{finer or form}}"
    return f"{factor * row[key]:{form}}{told}"


def _coverage(rows: Sequence[Result]) -> str:
    """Bins whose errors are too small or too large, in a sentence."""
    bins = [row for row in rows if row["snr"] in NARROW]
    off = [
        f"{LABELS[row['label']].symbol} at {row['snr']}, {100 * row['within_68']:.1f} %"
        for row in bins
        if abs(row["within_68"] - COVERED) > APART
    ]
    which = f" ({'; '.join(off)})" if off else ""
    much = f"whose 68 % coverage is off by more than {APART}"
    return f"Label and S/N bins {much}: {len(off)} of {len(bins)}{which}."


def recipes(result: Result) -> str:
    """Ours beside the published networks, on the same split and stars."""
    tables = {"hybrid": result["table"], **result["recipes"]}
    members = [f"{name} {result['packages'][name]['members']}" for name in tables]
    head, rows = [""], []
    for name in tables:
        head += [f"{name}, S/N 15-25", "all", "within 68 %"]
    for label in _labels(result["table"]):
        row = [_title(label)]
        for table in tables.values():
            found = _cells(table)
            few, all_ = found[label, "15-25"], found[label, "all"]
            row += [_std(few), _std(all_), f"{100 * all_['within_68']:.0f} %"]
        rows.append(row)
    return origin(result, "members: " + ", ".join(members)) + "\n\n" + markdown(head, rows)


def few_labels(result: Result) -> str:
    """The present split against folds, by number of labels."""
    facts = (
        f"{int(labels):,} labels: {run['members']} members in batches of {run['batch']} for "
        f"{run['epochs']} epochs"
        for labels, run in result["runs"].items()
    )
    head = ("labels", "", "held-out: std", "folds: std", "ratio")
    head += ("within 68 %, 95 %", "folds", "bins off", "folds")
    rows = []
    found = {(r["labels"], r["method"], r["label"]): r for r in result["summary"]}
    for labels, label in dict.fromkeys((row["labels"], row["label"]) for row in result["summary"]):
        one, two = (found[labels, method, label] for method in ("held-out", "folds"))
        cells = [f"{labels:,}", _title(label), _std(one), _std(two)]
        cells += [f"{two['std'] / one['std']:.3f}", *(_both(r) for r in (one, two))]
        rows.append([*cells, *(f"{r['within_68_off']} of {r['bins']}" for r in (one, two))])
    return origin(result, *facts) + "\n\n" + markdown(head, rows)


def _both(row: Result) -> str:
    return f"{100 * row['within_68']:.1f} %, {100 * row['within_95']:.1f} %"


def training(result: Result) -> str:
    """Speed of training: ours over plain loops."""
    facts = f"{result['stars']:,} stars of {result['pixels']} pixels"
    head = (
        "",
        "ours [stars x members / s / core]",
        "over the loop of a notebook",
        "over the plain loop at its best",
        "in batches like ours",
        "both augmented",
    )
    plain = ("notebook", "eager", "eager_our_batch")
    keys = (*(f"ours_over_{loop}" for loop in plain), "ours_augmented_over_eager_augmented")
    rows = [
        [f"`{name}`", f"{speeds['ours']:,}", *(f"{result['ratio'][name][k]:.2f}" for k in keys)]
        for name, speeds in result["speed"].items()
    ]
    return "\n\n".join(
        [origin(result, facts), markdown(head, rows), " ".join(_said_of_training(result))]
    )


def _said_of_training(result: Result) -> Iterator[str]:
    yield f"Two processes train {result['two_members']['ratio']:.2f} times as fast as one."
    if found := result.get("accuracy"):
        yield (
            f"Test scatter of members trained by our loop over that of the plain one: "
            f"{found['ratio_all_labels']:.3f} +- {found['error_of_ratio_all_labels']:.3f}."
        )
    if fused := result.get("fused"):
        yield (
            f"{fused['members']} members in one pass: {fused['stars_x_members_per_s']:,} "
            f"stars x members / s; {fused['binds']} binds."
        )


Form = Callable[[Any], str]


def _number(form: str, unit: str = "", scale: float = 1.0) -> Form:
    return lambda value: f"{value * scale:{form}}{unit}"


LISTS: dict[str, tuple[str, tuple[tuple[str, str, Form], ...]]] = {
    "hosts": (
        "`predict` on two hosts over one with as many workers (`--cluster ssh`, encrypted)",
        (
            ("CPU seconds of all processes", "cpu_two_to_one", _number("g")),
            ("Seconds", "two_to_one", _number("g")),
            ("Seconds with the start of workers", "two_to_one_with_start", _number("g")),
            ("Step that takes most of the workers' time, its share", "binding", str),
            (
                "Network, both ways, files left out",
                "network_bytes_per_star",
                _number("g", " bytes per star"),
            ),
        ),
    ),
    "scaling": (
        "The driver of `predict` alone",
        (
            ("Time per region, the most regions over the fewest", "per_region_ratio", _number("g")),
            ("Memory per region", "bytes_per_region", _number(",.0f", " bytes")),
            ("Memory with the most regions", "peak_bytes", _number(",.0f", " MB", 1e-6)),
            ("A line of the ledger forced to disk", "fsync_us", _number(",.0f", " µs")),
        ),
    ),
    "storage": (
        "What a survey store costs",
        (
            ("Labels moved by the encoding, rms", "rms", _number(".2g", " of their errors")),
            ("The same, mean", "bias", _number(".2g", " of their errors")),
            ("Stars with other flags", "flags", _number(",")),
            ("Bytes of values over bytes stored", "rates.compression", _number("g")),
            ("Writing over plain files", "rates.write.store_over_plain", _number("g")),
            ("Reading over plain files", "rates.read.store_over_plain", _number("g")),
            ("Reading", "rates.read.store.stars_per_s", _number(",", " stars/s")),
        ),
    ),
    "one_night": (
        "A night of 4MOST, one spectrum of 23,201 pixels a file, to a catalogue of 24 labels",
        (
            ("Files", "stars", _number(",.0f")),
            ("Workers", "workers", _number("g")),
            ("CPU to ingest a file", "cpu_ms_per_file.ingest", _number(".1f", " ms")),
            ("CPU to predict it", "cpu_ms_per_file.predict", _number(".1f", " ms")),
            ("Ingest, predict and export", "total", _number(".0f", " s")),
        ),
    ),
    "small_files": (
        "One spectrum of 1,000 pixels per file",
        (
            ("Files", "files", _number(",.0f")),
            ("CPU to ingest a file, all processes", "cpu_ms_per_file", _number(".1f", " ms")),
            ("of it in the driver", "driver_ms_per_file", _number(".2f", " ms")),
            (
                "Driver until the first part, over stamping all files there",
                "driver_over_stamping",
                _number(".2f"),
            ),
        ),
    ),
    "distillation": (
        "A student over its ensemble",
        (
            ("Speed, best engine over best engine", "ratio", _number(".1f")),
            ("The same with quality and flags", "with_quality.ratio", _number(".1f")),
            ("Members of the ensemble raced against", "against_members", _number("g")),
        ),
    ),
}
"""Of other results: a title, and what, where in the JSON, how it is written."""


def listed(kind: str) -> Callable[[Result], str]:
    """A table of the numbers that ``LISTS`` names, as far as the result has them."""
    title, entries = LISTS[kind]

    def table(result: Result) -> str:
        met = [(what, _at(result, path), form) for what, path, form in entries]
        rows = [(what, form(value)) for what, value, form in met if value is not None]
        rows += [
            (f"std over the ensemble's, S/N {snr}", _prices(price))
            for snr, price in result.get("price", {}).items()
        ]
        return f"{title}. {origin(result)}\n\n" + markdown(("", "measured"), rows)

    return table


def _prices(price: Result) -> str:
    return ", ".join(f"{LABELS[row['label']].symbol} {row['ratio']:.3f}" for row in price["labels"])


def _at(result: Any, path: str) -> Any:
    for key in path.split("."):
        result = result.get(key) if isinstance(result, dict) else None
    return result
