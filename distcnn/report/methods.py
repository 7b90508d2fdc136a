"""The judged table of ``distcnn compare``: as files beside their labels, and as text."""

from collections.abc import Iterator, Sequence

from distcnn.ecsv import to_ecsv
from distcnn.errors import StoreError
from distcnn.evaluation.baseline_table import TABLE_ENDING, BaselineTable
from distcnn.evaluation.judged_methods import (
    MethodRow,
    judge_methods,
    judged_table,
    read_references,
)
from distcnn.labels import label_info, of_attributes, present
from distcnn.location import Address, Location
from distcnn.report.figures.methods import draw_methods
from distcnn.report.text.table import aligned, label_title, label_value
from distcnn.style import FILE_KINDS, UNDATED, style
from distcnn.survey import Store


def write_judged_methods(
    out: Address, table: BaselineTable, survey: Address, edges: Sequence[float]
) -> str:
    """Write ``STEM.ecsv`` and ``STEM.png``, ``.pdf``, ``.svg`` beside the table ``out``.

    Returns
    -------
    The table for all S/N as text; without files where no star can be judged.

    Raises
    ------
    StoreError : a file cannot be written.
    """
    store, out = Store.open(survey, "survey"), Location.parse(out)
    with present(of_attributes(store.attrs)):
        rows = judge_methods(table, *read_references(store, table), edges)
        if not rows:
            return "no labelled star of the test split: nothing can be judged"
        try:
            _write(out, table, rows)
        except OSError as error:
            raise StoreError(f"the judged table beside {out} cannot be written ({error})") from None
        return "\n".join(judged_lines(rows))


def _write(out: Location, table: BaselineTable, rows: Sequence[MethodRow]) -> None:
    stem = out.name.removesuffix(TABLE_ENDING)
    meta = {"origin": dict(table.origin), "settings": dict(table.settings)}
    (out.parent / f"{stem}.ecsv").write_bytes(to_ecsv(judged_table(rows, meta)))
    with style():
        figure = draw_methods(rows)
        for kind in FILE_KINDS:
            with (out.parent / f"{stem}.{kind}").new_file(suffix=f".{kind}") as draft:
                figure.savefig(draft, format=kind, metadata=UNDATED[kind])


def judged_lines(rows: Sequence[MethodRow]) -> Iterator[str]:
    """One line per method: 1.48 MAD of every label and the coverage in per cent, all S/N.

    A star marks the least 1.48 MAD of a label.
    """
    whole = [row for row in rows if row["snr"] == "all"]
    labels = list(dict.fromkeys(row["label"] for row in whole))
    table = [["method", *(label_title(name) for name in labels), "stars/s"]]
    for method in dict.fromkeys(row["method"] for row in whole):
        mine = {row["label"]: row for row in whole if row["method"] == method}
        cells = [_cell(mine[name]) if name in mine else "" for name in labels]
        table.append([method, *cells, f"{next(iter(mine.values()))['stars_per_second']:,.0f}"])
    yield from aligned(table)
    best = {name: _best([r for r in whole if r["label"] == name]) for name in labels}
    yield ""
    yield "1.48 MAD, and per cent of stars within one quoted error; * least of its label"
    yield "least 1.48 MAD: " + ", ".join(
        f"{label_info(name).symbol} {method}" for name, method in best.items()
    )


def _cell(row: MethodRow) -> str:
    coverage = "  -" if row["within_68"] != row["within_68"] else f"{100 * row['within_68']:3.0f}"
    return f"{label_value(row['mad'], row['label'])}{'*' if row['best_mad'] else ' '} {coverage}"


def _best(rows: Sequence[MethodRow]) -> str:
    return min(rows, key=lambda row: row["mad"])["method"]
