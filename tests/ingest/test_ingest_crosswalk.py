"""Labels under other identifiers: led to the stars of the spectra, or told why not."""

from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from pydantic import ValidationError
from tiny_archive import write_all_star

from distcnn.config import Config, IngestConfig, load_config
from distcnn.errors import ColumnMissing, InputError
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.survey import Store

PIXELS = 16
OLD, NEW = 1_000_000_000_000_000_000, 2_000_000_000_000_000_000
"""First identifiers of the old and of the new release: too large for a float."""
NEIGHBOURHOOD = "dr2_source_id,dr3_source_id,angular_distance,magnitude_difference"


def settings(**changes):
    tree = {
        "survey": "gaia_like",
        "release": "DR3",
        "spectra": {
            "reader": "table",
            "files": "spectra.parquet",
            "columns": {"source_id": "star"},
        },
        "source": None,
        "source_required": False,
        "xp": None,
        "labels": {
            "reader": "table",
            "files": "labels.csv",
            "labels": ["teff"],
            "columns": {"source_id": "dr2_source_id"},
        },
        "crosswalk": {
            "files": "dr2_neighbourhood.csv",
            "columns": {"label_id": "dr2_source_id", "source_id": "dr3_source_id"},
        },
        "grid": {"start": 500.0, "step": 0.1, "size": PIXELS},
        "store": {"chunk_stars": 4, "shard_stars": 8},
    }
    return IngestConfig.model_validate(tree | changes)


def write_spectra(folder, stars):
    folder.mkdir(exist_ok=True)
    flux = [[1.0] * PIXELS] * len(stars)
    pq.write_table(pa.table({"star": stars, "flux": flux}), folder / "spectra.parquet")
    return folder


def write_archive(folder, rows, teff=None):
    """Four stars of the new release, labels of the old one, and rows between them."""
    write_spectra(folder, [NEW + n for n in range(4)])
    lines = [f"{OLD + n},{5000 + n},{80 + n}" for n in range(4)] if teff is None else teff
    (folder / "labels.csv").write_text("\n".join(["dr2_source_id,teff,snr", *lines, ""]))
    (folder / "dr2_neighbourhood.csv").write_text("\n".join([NEIGHBOURHOOD, *rows, ""]))
    return folder


def ingest(folder, tmp_path, config):
    told = []
    summary = build_survey(
        folder, tmp_path / "s.zarr", config, executor=SerialExecutor(), listener=told.append
    )
    store = Store.open(tmp_path / "s.zarr")
    rows = [store.read(region) for region in store.regions()]
    joined = {name: np.concatenate([r[name] for r in rows]) for name in ("source_id", "label")}
    texts = [getattr(event, "text", "") for event in told]
    labels = dict(zip(joined["source_id"].tolist(), joined["label"].tolist(), strict=True))
    return summary, store, labels, texts


def quarantined(store):
    return pq.read_table(Path(str(store.private)) / "quarantine.parquet").to_pylist()


def test_labels_follow_the_crosswalk_to_the_new_identifiers(tmp_path):
    rows = [f"{OLD + n},{NEW + (n + 1) % 4},{10 + n},0.1" for n in range(4)]
    summary, _, labels, told = ingest(write_archive(tmp_path / "a", rows), tmp_path, settings())
    assert summary.labelled == 4
    assert labels == {NEW + (n + 1) % 4: [5000 + n] for n in range(4)}
    assert any("4 of 4 stars of the label table are in the crosswalk" in text for text in told)


@pytest.mark.parametrize(
    ("distances", "chosen"),
    [
        ([("20", "0.0"), ("5", "3.0")], 1),  # the nearest, whatever its brightness
        ([("5", "-0.8"), ("5", "0.2")], 1),  # as near: the most alike in brightness
        ([("5", ""), ("5", "9.0")], 1),  # a brightness is better than none
        ([("", "0.0"), ("400", "9.0")], 1),  # and so is a distance
        ([("5", "0.2"), ("5", "-0.2")], None),  # nothing decides
    ],
)
def test_of_several_counterparts_the_nearest_counts_then_brightness(tmp_path, distances, chosen):
    rows = [f"{OLD},{NEW + n},{d},{m}" for n, (d, m) in enumerate(distances)]
    rows.append(f"{OLD + 1},{NEW + 2},1,0")
    summary, store, labels, told = ingest(write_archive(tmp_path / "a", rows), tmp_path, settings())
    assert labels[NEW + 2] == [5001]
    found = [n for n in range(2) if labels[NEW + n] == [5000]]
    if chosen is not None:
        assert found == [chosen]
        assert any("of 1 with several counterparts the nearest" in text for text in told)
        return
    assert found == []
    assert any("1 have several as near, and get no labels" in text for text in told)
    assert summary.reasons == {"ambiguous_crosswalk": 1}
    (row,) = quarantined(store)
    assert (row["kind"], row["file"]) == ("crosswalk", "dr2_neighbourhood.csv")
    assert row["detail"].startswith(f"{OLD} leads to {NEW} and {NEW + 1}, as near")


def test_of_two_old_stars_that_are_one_now_the_best_spectrum_counts(tmp_path):
    rows = [f"{OLD + n},{NEW},1,0" for n in range(3)]
    _, _, labels, _ = ingest(write_archive(tmp_path / "a", rows), tmp_path, settings())
    assert labels[NEW] == [5002]


def test_rows_that_fail_a_cut_of_the_crosswalk_count_for_nothing(tmp_path):
    rows = [f"{OLD + n},{NEW + n},{n * 100},0.1" for n in range(4)]
    crosswalk = {
        "files": "dr2_neighbourhood.csv",
        "columns": {"label_id": "dr2_source_id", "source_id": "dr3_source_id"},
        "cuts": [{"column": "angular_distance", "maximum": 150}],
    }
    summary, *_ = ingest(
        write_archive(tmp_path / "a", rows), tmp_path, settings(crosswalk=crosswalk)
    )
    assert summary.labelled == 2


def test_names_are_matched_on_both_sides(tmp_path):
    folder = write_spectra(tmp_path / "a", ["HD 1", "HD 2", "HD 3"])
    (folder / "labels.csv").write_text("id,teff\n2M01,5001\n2M02,5002\n2M03,5003\n")
    table = Table({"star": ["HD 3", "HD 1", "HD 2"], "twomass": ["2M03", "2M01", "2M02"]})
    table.write(folder / "names.fits")
    config = settings(
        labels={
            "reader": "table",
            "files": "labels.csv",
            "labels": ["teff"],
            "columns": {"source_id": "id"},
        },
        crosswalk={"files": "names.fits", "columns": {"label_id": "twomass", "source_id": "star"}},
    )
    build_survey(folder, tmp_path / "s.zarr", config, executor=SerialExecutor())
    store = Store.open(tmp_path / "s.zarr")
    read = store.read(store.regions()[0])
    names = [bytes(name).rstrip(b"\0").decode() for name in read["name"]]
    assert dict(zip(names, read["label"][:, 0].tolist(), strict=True)) == {
        f"HD {n}": 5000 + n for n in (1, 2, 3)
    }


def test_designations_of_another_release_are_led_across_but_refused_without(tmp_path):
    teff = [f"Gaia DR2 {OLD + n},{5000 + n},80" for n in range(4)]
    rows = [f"Gaia DR2 {OLD + n},Gaia DR3 {NEW + n},1,0" for n in range(4)]
    folder = write_archive(tmp_path / "a", rows, teff)
    config = settings(survey="gaia_rvs")
    with pytest.raises(InputError, match=r"ingest\.crosswalk"):
        ingest(folder, tmp_path / "no", config.model_copy(update={"crosswalk": None}))
    summary, *_ = ingest(folder, tmp_path, config)
    assert summary.labelled == 4


def test_a_crosswalk_that_cannot_be_read_is_refused(tmp_path):
    folder = write_archive(tmp_path / "a", [])
    (folder / "dr2_neighbourhood.csv").write_text("dr2_source_id,other\n1,2\n")
    with pytest.raises(ColumnMissing, match="there is no column 'dr3_source_id'"):
        ingest(folder, tmp_path, settings())
    (folder / "dr2_neighbourhood.csv").unlink()
    with pytest.raises(InputError, match=r"is called dr2_neighbourhood\.csv"):
        ingest(folder, tmp_path, settings())


def test_new_stars_need_neither_labels_nor_a_crosswalk(tmp_path):
    folder = write_archive(tmp_path / "a", [f"{OLD},{NEW},1,0"])
    for name in ("labels.csv", "dr2_neighbourhood.csv"):
        (folder / name).unlink()
    build_survey(folder, tmp_path / "s.zarr", settings(), executor=SerialExecutor())
    assert Store.open(tmp_path / "s.zarr").stars == 4


def test_a_crosswalk_names_both_identifiers_and_serves_labels():
    with pytest.raises(ValidationError, match="source_id missing"):
        settings(crosswalk={"files": "x.csv", "columns": {"label_id": "a"}})


def test_the_configuration_of_gaia_dr4_leads_labels_of_apogee_from_dr3(tmp_path):
    config = load_config("gaia_rvs_dr4").ingest
    folder = tmp_path / "a"
    folder.mkdir()
    stars = [NEW + n for n in range(6)]
    flux = [[1.0] * config.grid.size] * len(stars)
    spectra = pa.table({"source_id": stars, "flux": flux, "flux_error": flux})
    pq.write_table(spectra, folder / "Gaia_DR4_MEAN_SPECTRUM_RVS.parquet")
    new = build_survey(folder, tmp_path / "new.zarr", config, executor=SerialExecutor())
    assert (new.stars, new.labelled) == (6, 0)
    write_all_star(folder / "allStar-dr17.fits", np.array([OLD + n for n in range(6)]))
    names = NEIGHBOURHOOD.replace("dr3", "dr4").replace("dr2", "dr3")
    rows = [f"{OLD + n},{NEW + n},{n}.5,0.01" for n in range(6)]
    (folder / "dr3_neighbourhood.csv").write_text("\n".join([names, *rows, ""]))
    summary, _, labels, told = ingest(folder, tmp_path, config)
    # One of the six is flagged.
    assert summary.labelled == 5, told
    assert labels[NEW] == pytest.approx([1, 101, 201, 301, 401])


# --- label tables of surveys, in their published layouts ------------------------------------


def astra_all_star(path, stars):
    """astraAllStarASPCAP of SDSS DR19: BOSS in the first extension, APOGEE in the second."""
    n = len(stars)
    columns = [
        fits.Column("sdss_id", "K", array=np.arange(n) + 54_000_000),
        fits.Column("gaia_dr3_source_id", "K", array=stars),
        fits.Column("snr", "E", array=np.full(n, 100.0)),
        fits.Column("v_rad", "E", array=np.linspace(-50, 50, n)),
        fits.Column("e_v_rad", "E", array=np.full(n, 0.05)),
        fits.Column("teff", "E", array=5000.0 + np.arange(n)),
        fits.Column("e_teff", "E", array=np.full(n, 20.0)),
        fits.Column("raw_teff", "E", array=np.zeros(n)),
        fits.Column("mg_h", "E", array=np.linspace(-1, 0, n)),
        fits.Column("result_flags", "J", array=[1 << 5, *[0] * (n - 1)]),
        fits.Column("flag_bad", "L", array=[False] * (n - 1) + [True]),
    ]
    empty = fits.BinTableHDU.from_columns([fits.Column("sdss_id", "K", array=[])])
    table = fits.BinTableHDU.from_columns(columns)
    fits.HDUList([fits.PrimaryHDU(), empty, table]).writeto(path)
    return {
        "hdu": 2,
        "columns": {
            "source_id": "gaia_dr3_source_id",
            "teff": "teff",
            "teff_error": "e_teff",
            "label_snr": "snr",
        },
        "cuts": [
            {"column": "result_flags", "forbidden_bits": [5]},
            {"column": "flag_bad", "maximum": 0},
        ],
    }


def galah_all_star(path, stars):
    """GALAH_DR3_main_allstar_v2.fits: one binary table; flag_sp 0 is good."""
    n = len(stars)
    table = Table()
    table["star_id"] = [f"{n:016d}" for n in range(n)]
    table["sobject_id"] = np.arange(n) + 131_116_000_501_000
    table["dr3_source_id"] = stars
    table["teff"] = (5000 + np.arange(n)).astype("f4")
    table["e_teff"] = np.full(n, 90, "f4")
    table["snr_c3_iraf"] = np.full(n, 60, "f4")
    table["flag_sp"] = [4, *[0] * (n - 2), 1]
    table.write(path)
    columns = {"source_id": "dr3_source_id", "teff_error": "e_teff", "label_snr": "snr_c3_iraf"}
    return {"columns": columns, "cuts": [{"column": "flag_sp", "maximum": 0}]}


def votable(path, stars):
    """As VizieR sends it: e_Teff for the error, the identifier as a long."""
    table = Table({"GaiaEDR3": stars, "Teff": 5000.0 + np.arange(len(stars))})
    table["e_Teff"] = 50.0
    table["q"] = [0, *[1] * (len(stars) - 2), 0]
    table.write(path, format="votable")
    columns = {"source_id": "GaiaEDR3", "teff": "Teff", "teff_error": "e_Teff"}
    return {"columns": columns, "cuts": [{"column": "q", "minimum": 1}]}


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (astra_all_star, "astraAllStarASPCAP-0.6.0.fits"),
        (galah_all_star, "GALAH_DR3_main_allstar_v2.fits"),
        (votable, "asu.vot"),
    ],
)
def test_label_tables_of_surveys_are_read_by_configuration_alone(tmp_path, write, name):
    stars = np.array([NEW + n for n in range(6)])
    folder = write_spectra(tmp_path / "a", stars.tolist())
    described = write(folder / name, stars)
    labels = {"reader": "table", "files": name, "labels": ["teff"], **described}
    summary, store, found, _ = ingest(folder, tmp_path, settings(labels=labels, crosswalk=None))
    assert summary.labelled == 4, "the first and the last star fail a cut"
    assert [found[NEW + n] for n in range(1, 5)] == [[5000 + n] for n in range(1, 5)]
    errors = store.read(store.regions()[0])["label_error"]
    assert np.isfinite(errors[1:5]).all()


def test_labels_of_apogee_may_go_by_the_name_of_the_target(tmp_path):
    folder = write_spectra(tmp_path / "a", ["2M000001", "2M000002"])
    table = Table({"APOGEE_ID": ["2M000002", "2M000001"], "SNR": [100.0, 200.0]})
    table["TEFF"], table["TEFF_ERR"] = [5002.0, 5001.0], [10.0, 10.0]
    table.write(folder / "allStar-x.fits")
    labels = {
        "reader": "apogee",
        "files": "allStar*",
        "labels": ["teff"],
        "columns": {"source_id": "APOGEE_ID"},
    }
    summary, *_ = ingest(folder, tmp_path, settings(labels=labels, crosswalk=None))
    assert summary.labelled == 2


@pytest.mark.real
def test_the_table_of_gaia_eso_labels_is_read_as_it_is(tmp_path, real_data):
    name = "labels_GIRAFFE_HR15N_training.csv"
    real = real_data / "label_tables" / name
    if not real.exists():
        pytest.skip(f"label_tables/{name} is missing in DISTCNN_DATA")
    names = [line.split(",")[0] for line in real.read_text().splitlines()[1:4]]
    folder = write_spectra(tmp_path / "a", names)
    (folder / name).symlink_to(real)
    labels = {
        "reader": "table",
        "files": name,
        "labels": ["teff", "logg", "feh", "ali"],
        "columns": {"source_id": "ges_spec_names", "ali": "LI1"},
    }
    summary, _, found, _ = ingest(folder, tmp_path, settings(labels=labels, crosswalk=None))
    assert summary.labelled == 3
    assert [pytest.approx(4092.46), pytest.approx(4.73)] == next(iter(found.values()))[:2]


def test_a_survey_keeps_what_became_of_its_labels(tmp_path):
    rows = [f"{OLD},{NEW},1,0"]
    _, store, _, _ = ingest(write_archive(tmp_path / "a", rows), tmp_path, settings())
    assert store.attrs["files"]["crosswalk"] == 1
    assert orjson.loads(orjson.dumps(store.attrs["ingest"]))["crosswalk"]["reader"] == "table"
    assert Config().ingest.crosswalk is None
