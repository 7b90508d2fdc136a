"""Catalogues in every format of tables give the same rows."""

import numpy as np
import pytest
from astropy.table import Table

from distcnn.config.catalogue import CatalogueConfig, catalogue_presets
from distcnn.errors import ColumnMissing, UsageError
from distcnn.ingest.catalogue_table import read_catalogue

COLUMNS = {
    "source_id": "star",
    "ra": "RA",
    "dec": "DEC",
    "teff": "T",
    "teff_error": ("T_low", "T_high"),
    "mh": "M",
    "mh_error": "e_M",
    "cluster": "Name",
}


@pytest.fixture
def table():
    return Table(
        {
            "star": np.array([5, 6, 7, 8]) * 10**15 + 1,
            "RA": [10.0, 20.0, 30.0, 40.0],
            "DEC": [-5.0, 0.0, 5.0, 10.0],
            "T": [5000.0, 5100.0, -9999.0, 5300.0],
            "T_low": [4950.0, 5040.0, 5100.0, 5250.0],
            "T_high": [5050.0, 5160.0, 5300.0, 5350.0],
            "M": [0.1, -0.2, -0.3, 0.0],
            "e_M": [0.05, 0.04, 0.03, 0.02],
            "Name": ["NGC 1", "NGC 1", "Berkeley 2", ""],
            "flags": ["0000", "0001", "0000", "0009"],
            "snr": [50.0, 60.0, 10.0, 70.0],
        }
    )


def written(table, path):
    if path.suffix == ".parquet":
        table.to_pandas().to_parquet(path)
    elif path.suffix in {".csv", ".vot"}:
        table.write(path, format={".csv": "csv", ".vot": "votable"}[path.suffix])
    else:
        table.write(path)
    return path


@pytest.mark.parametrize("ending", ["fits", "vot", "ecsv", "csv", "parquet"])
def test_every_format_gives_the_same_rows_after_the_same_cuts(table, tmp_path, ending):
    catalogue = CatalogueConfig(
        path=written(table, tmp_path / f"table.{ending}"),
        columns=COLUMNS,
        cuts=[{"column": "snr", "minimum": 20}],
        text_cuts=[{"column": "flags", "pattern": "000[01]"}],
    )
    found = read_catalogue(catalogue, ["teff", "logg", "mh"])
    assert found["source_id"].tolist() == [5 * 10**15 + 1, 6 * 10**15 + 1]
    assert found["teff"].tolist() == [5000, 5100]
    assert found["teff_error"].tolist() == [50, 60]
    assert found["mh_error"].tolist() == [0.05, 0.04]
    assert found["cluster"].tolist() == ["NGC 1", "NGC 1"]
    assert found["dec"].tolist() == [-5, 0]
    assert "logg" not in found


def test_a_sentinel_is_missing(table, tmp_path):
    catalogue = CatalogueConfig(path=written(table, tmp_path / "t.fits"), columns=COLUMNS)
    found = read_catalogue(catalogue, ["teff"])
    assert np.isnan(found["teff"]).tolist() == [False, False, True, False]


def test_by_position_no_identifier_is_needed(table, tmp_path):
    columns = {"ra": "RA", "dec": "DEC", "mh": "M"}
    path = written(table, tmp_path / "t.csv")
    found = read_catalogue(CatalogueConfig(path=path, match="position", columns=columns), ["mh"])
    assert found["source_id"].tolist() == [0, 0, 0, 0]
    assert found["mh"].tolist() == [0.1, -0.2, -0.3, 0.0]
    assert np.isnan(found["mh_error"]).all()


def test_rows_that_cannot_be_split_leave_the_others_their_texts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("star,Name,M\n11,a,0.1\n12,b\n13,c,0.3\n")
    columns = {"source_id": "star", "cluster": "Name", "mh": "M"}
    found = read_catalogue(CatalogueConfig(path=path, columns=columns), ["mh"])
    assert dict(zip(found["source_id"].tolist(), found["cluster"].tolist(), strict=True)) == {
        11: "a",
        13: "c",
    }


def test_what_cannot_be_used_is_told(table, tmp_path):
    path = written(table, tmp_path / "t.fits")
    with pytest.raises(ColumnMissing, match="no column 'Teff'"):
        read_catalogue(CatalogueConfig(path=path, columns=COLUMNS | {"teff": "Teff"}), ["teff"])
    with pytest.raises(UsageError, match="there is no catalogue"):
        read_catalogue(CatalogueConfig(path=tmp_path / "none.fits", columns=COLUMNS), ["teff"])
    with pytest.raises(UsageError, match="do not name ra and dec"):
        read_catalogue(CatalogueConfig(path=path, match="position", columns={"mh": "M"}), ["mh"])


@pytest.mark.parametrize("preset", catalogue_presets())
def test_a_preset_names_what_its_match_needs(preset):
    catalogue = CatalogueConfig(preset=preset)
    needed = {"source_id": ["source_id"], "position": ["ra", "dec"]}[catalogue.match]
    assert set(needed) <= set(catalogue.columns)
    assert catalogue.title
    assert {"teff", "cluster"} & set(catalogue.columns)


def test_what_is_given_goes_before_the_preset_and_an_unknown_one_is_told():
    catalogue = CatalogueConfig(preset="galah_dr4", name="mine", radius_arcsec=2)
    assert (catalogue.title, catalogue.radius_arcsec) == ("mine", 2)
    with pytest.raises(ValueError, match="Did you mean 'galah_dr4'"):
        CatalogueConfig(preset="galah_dr5")
