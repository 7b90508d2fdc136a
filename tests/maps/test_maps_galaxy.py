"""The map of the Galaxy on simulated stars: what was put in comes out within its errors."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from inference.small import NAMES, make_survey
from maps.galaxy_products import make_galaxy

from distcnn.config import load_config
from distcnn.errors import InputError, StoreError, UsageError
from distcnn.files import bytes_below
from distcnn.maps import MapRecord
from distcnn.maps.galaxy import run
from distcnn.pipeline import map_galaxy
from distcnn.survey import Store

SETS = [
    "cluster.backend=serial",
    "maps.galaxy.zero_point=-0.03",
    "maps.galaxy.minimum=60",
    "maps.galaxy.sample=2500",
    "maps.galaxy.radius_edges=[4,7,9,13]",
    "maps.galaxy.height_edges=[0,0.5,5]",
]


def _config(*more):
    return load_config(None, [*SETS, *more])


@pytest.fixture(scope="module")
def made(galaxy, tmp_path_factory):
    out = tmp_path_factory.mktemp("map") / "galaxy-map"
    return out, map_galaxy(galaxy.predictions, out, _config())


def test_every_star_has_a_place_and_those_on_the_map_lie_where_they_are(made, galaxy):
    folder, record = made
    table = pq.read_table(folder / "stars").to_pandas()
    assert (table["source_id"] == galaxy.stars.source_id).all()
    assert table["mapped"].sum() == record.facts["used"] > 4000
    on_map = table[table["mapped"]]
    true = galaxy.stars.distance[table["mapped"]]
    inside = (on_map["distance_low"] < true) & (true < on_map["distance_high"])
    assert 0.64 < inside.mean() < 0.73
    assert np.abs(on_map["distance"] / true - 1).median() < 0.02


def test_the_gradient_of_the_thin_disc_comes_out_within_its_error(made):
    table = Table.read(made[0] / "gradients.ecsv")
    row = next(r for r in table if r["height_low"] == 0 and r["sequence"] == "low_alpha")
    assert row["gradient_error"] < 0.01
    # What the simulator draws: -0.06 dex/kpc, -0.05 dex where the Sun is.
    assert abs(row["gradient"] + 0.06) < 3 * row["gradient_error"]
    assert abs(row["mh"] + 0.05) < 3 * row["mh_error"] + 0.01


def test_two_sequences_are_found_where_two_were_put(made, galaxy):
    table = Table.read(made[0] / "mosaic.ecsv")
    near = table[(table["radius_low"] == 7) & (table["height_low"] == 0)]
    assert (near["delta_bic"] > 10).all()
    assert (np.abs(near["alpham_high"] - 0.25) < 0.05).all()
    assert table["stars"].sum() <= made[1].facts["used"]
    assert np.load(made[0] / "density.npz")["mosaic"].sum() == table["stars"].sum()


def test_the_halo_is_as_large_as_was_drawn(made, galaxy):
    table = Table.read(made[0] / "halo.ecsv")
    mapped = pq.read_table(made[0] / "stars")["mapped"].to_numpy()
    true = (galaxy.truth[mapped, 2] < -1.0).sum()
    counted, error = table["expected"].sum(), np.hypot(*table["expected_error"])
    assert abs(counted - true) < 3 * error


def test_the_record_names_what_is_there(made):
    folder, record = made
    assert MapRecord.read(folder) == record
    for name in record.figures:
        for kind in ("png", "pdf", "svg"):
            assert (folder / f"{name}.{kind}").stat().st_size > 1000
    for name in record.tables:
        assert len(Table.read(folder / f"{name}.ecsv"))
    assert record.facts["prior"].endswith("L = 1.35 kpc")
    assert any("dex/kpc" in sentence for sentence in record.sentences)


def test_an_interrupted_map_goes_on_and_ends_in_the_same_bytes(made, galaxy, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "REGION_STARS", 1024)  # else there is one region only
    out = tmp_path / "again"
    with pytest.raises(RuntimeError, match="interrupted"):
        map_galaxy(galaxy.predictions, out, _config(), _Interrupting(2))
    assert not out.exists()
    heard = []
    map_galaxy(galaxy.predictions, out, _config(), heard.append)
    begun = next(event for event in heard if hasattr(event, "done"))
    assert begun.done > 0
    for name in ("mosaic.ecsv", "gradients.ecsv", "halo.ecsv", "plane.png"):
        assert (out / name).read_bytes() == (made[0] / name).read_bytes()


class _Interrupting:
    """Stops a run as Ctrl-C does, after some regions."""

    def __init__(self, after):
        self.after = after

    def __call__(self, event):
        if type(event).__name__ == "Advanced":
            self.after -= 1
            if self.after < 0:
                raise RuntimeError("interrupted")


def test_a_finished_map_is_left_as_it_is_and_another_is_refused(made, galaxy):
    before = bytes_below(made[0])
    assert map_galaxy(galaxy.predictions, made[0], _config()) == made[1]
    assert bytes_below(made[0]) == before
    with pytest.raises(UsageError, match="another settings"):
        map_galaxy(galaxy.predictions, made[0], _config("maps.galaxy.halo=-1.5"))


def test_a_folder_of_something_else_is_not_touched(galaxy, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="no map"):
        map_galaxy(galaxy.predictions, tmp_path / "mine", _config())


def test_what_is_missing_is_named_with_its_cure(galaxy, tmp_path):
    small = make_galaxy(tmp_path, stars=200, chunk=64)
    other = make_galaxy(tmp_path / "other", stars=200, seed=4, chunk=64)
    with pytest.raises(StoreError, match="other stars"):
        map_galaxy(small.predictions, tmp_path / "a", _config(), survey=other.survey)
    with pytest.raises(StoreError, match="6000 stars"):
        map_galaxy(small.predictions, tmp_path / "b", _config(), survey=galaxy.survey)
    Store.open(small.predictions).annotate({"complete": False})
    with pytest.raises(StoreError, match="not finished"):
        map_galaxy(small.predictions, tmp_path / "c", _config())


def test_predictions_without_the_labels_or_a_survey_without_parallaxes_are_refused(tmp_path):
    make_survey(tmp_path / "survey.zarr")
    small = make_galaxy(tmp_path / "small", stars=150, chunk=64)
    with pytest.raises(StoreError, match="other stars"):
        map_galaxy(small.predictions, tmp_path / "a", _config(), survey=tmp_path / "survey.zarr")
    names = [name for name in NAMES if "parallax" not in name]
    make_survey(tmp_path / "without.zarr", names=names)
    with pytest.raises(InputError, match="no parallaxes with errors"):
        map_galaxy(small.predictions, tmp_path / "b", _config(), survey=tmp_path / "without.zarr")
