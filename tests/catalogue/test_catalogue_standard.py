import warnings

import numpy as np
import pytest
from astropy.table import Table
from astropy.units import UnitsWarning
from catalogue.simple_predictions import make_predictions

from distcnn.catalogue import Selection, export
from distcnn.evaluation.agreement import StandardLabels
from distcnn.survey import Region

STARS = 300


@pytest.fixture
def beside(tmp_path):
    """Predictions, and a standard method that was asked for every second star: 30 K warmer."""
    store = make_predictions(tmp_path / "p.zarr", STARS)
    rows = store.read(Region(0, STARS), ["source_id", "label"])
    order = np.argsort(rows["source_id"])[::2]
    label = rows["label"][order][:, [0, 2]] + np.array([30.0, 0.0], np.float32)
    error = np.tile(np.array([40.0, 0.1], np.float32), (len(order), 1))
    methods = {"teff": "The Cannon", "mh": "The Payne"}
    ids = rows["source_id"][order]
    return store, StandardLabels(("teff", "mh"), methods, ids, label, error)


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnitsWarning)
        return Table.read(path)


@pytest.mark.parametrize("suffix", ["parquet", "fits", "vot"])
def test_the_best_standard_method_stands_beside_the_network(beside, tmp_path, suffix):
    store, standard = beside
    target = tmp_path / f"c.{suffix}"
    columns = ("source_id", "teff", "teff_error", "teff_*", "mh_standard")
    export(store.path, target, selection=Selection(columns, standard=standard))
    table = read(target)
    asked = np.isin(table["source_id"], standard.source_id)
    assert 0 < asked.sum() < STARS
    found = {name: np.ma.filled(table[name].astype(float), np.nan) for name in table.colnames}
    done = asked & np.isfinite(found["teff"])
    assert found["teff_standard"][done] - found["teff"][done] == pytest.approx(30, abs=0.01)
    assert found["teff_standard_error"][asked] == pytest.approx(40)
    wanted = -30 / np.hypot(found["teff_error"][done], 40)
    assert found["teff_agreement"][done] == pytest.approx(wanted, rel=1e-3)
    assert np.isnan(found["teff_standard"][~asked]).all()


def test_rows_can_be_chosen_by_agreement_and_the_header_names_the_methods(beside, tmp_path):
    store, standard = beside
    where = "teff_agreement < -0.6"
    count = export(
        store.path, tmp_path / "c.fits", selection=Selection((), where, standard=standard)
    )
    table = read(tmp_path / "c.fits")
    assert 0 < count == len(table) < STARS
    assert (table["teff_agreement"] < -0.6).all()
    assert table.meta["STANDARD"] == "teff: The Cannon; mh: The Payne"


def test_without_a_table_of_methods_there_are_no_such_columns(beside, tmp_path):
    store, _ = beside
    export(store.path, tmp_path / "c.parquet")
    assert not [name for name in read(tmp_path / "c.parquet").colnames if "standard" in name]
