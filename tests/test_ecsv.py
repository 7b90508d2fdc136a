import numpy as np
import pytest
from astropy.table import Table

from distcnn.ecsv import TableColumn, TextTable, from_ecsv, to_ecsv
from distcnn.errors import FileBroken

COLUMNS = (
    TableColumn("label", description="name of the label"),
    TableColumn("bias", "K", "mean residual"),
    TableColumn("stars"),
)


def test_units_and_meanings_are_what_astropy_reads(tmp_path):
    rows = [{"label": "teff", "bias": 1.5, "stars": 3}, {"label": "a, b", "bias": None, "stars": 0}]
    (tmp_path / "t.ecsv").write_bytes(to_ecsv(TextTable(COLUMNS, rows, {"seed": 5})))
    table = Table.read(tmp_path / "t.ecsv")
    assert str(table["bias"].unit) == "K"
    assert table["bias"].description == "mean residual"
    assert np.ma.is_masked(table["bias"][1])
    assert table["stars"].dtype.kind == "i"
    assert table.meta["seed"] == 5


def test_a_table_comes_back_as_it_was():
    texts = ("[alpha/M]", 'a "quoted, text"', "α > 0.1 | x", "S/N 15-25")
    numbers = (0.1 + 0.2, -1e300, None, 5e-324)
    rows = [
        {"label": text, "bias": number, "stars": 2**60 + place}
        for place, (text, number) in enumerate(zip(texts, numbers, strict=True))
    ]
    found = from_ecsv(to_ecsv(TextTable(COLUMNS, rows)), "t")
    assert list(found.rows) == rows
    assert tuple(found.columns) == COLUMNS


def test_what_is_no_table_is_named():
    with pytest.raises(FileBroken, match="answers"):
        from_ecsv(b"{}", "answers")
