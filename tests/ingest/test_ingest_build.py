"""From archive to survey: what is joined, what is kept, and that nothing is lost or doubled."""

import numpy as np
import pytest
import xarray as xr
from dying_executor import DyingExecutor, contents, quarantine
from tiny_archive import PIXELS, TinyArchive, settings

from distcnn.errors import ConfigError, FingerprintMismatch, InputError, StoreError
from distcnn.events import Advanced, Notice, StageEnded, StageStarted
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey, discard_unfinished
from distcnn.schema import SURVEY_VARIABLES, Variable
from distcnn.survey import Ledger, Region, Store, spectra_conditions

EXECUTOR = SerialExecutor()


@pytest.fixture
def survey(tmp_path):
    return tmp_path / "survey.zarr"


def test_every_star_is_joined_with_what_is_known_of_it(archive, survey):
    summary = build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    assert summary.stars == 27
    assert summary.quarantined == 0
    assert summary.files == 10
    stars = contents(survey)
    assert stars["source_id"].tolist() == archive.source_id
    assert np.isfinite(stars["photometry"]).all()
    assert np.flatnonzero(np.isnan(stars["parallax"])).tolist() == [1, 10, 19]
    assert np.flatnonzero(np.isnan(stars["xp"]).all(axis=1)).tolist() == [3, 12, 21]
    assert np.isnan(stars["xp"][4, :55]).all()
    assert np.isfinite(stars["xp"][4, 55:]).all()


def test_signal_to_noise_is_the_archives_or_else_measured(archive, survey):
    build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    snr = contents(survey)["snr"]
    assert snr[0] == pytest.approx(20)
    assert snr[2] == pytest.approx(np.median(archive.flux[2] / 0.02), rel=1e-3)


def test_signal_to_noise_is_brought_to_one_wavelength_interval(archive, survey, tmp_path):
    folder = archive.write()
    snr = {"interval": 0.09, "given": 0.0225, "correlation": 1.5}
    build_survey(folder, survey, settings(snr=snr), executor=EXECUTOR)
    found = contents(survey)["snr"]
    assert found[0] == pytest.approx(20 * np.sqrt(0.09 / 0.0225))
    # measured on pixels of 0.01 nm, of which the noise makes 1.5 into one
    measured = np.median(archive.flux[2] / 0.02) * np.sqrt(0.09 / (0.01 * 1.5))
    assert found[2] == pytest.approx(measured, rel=1e-3)
    store = Store.open(survey, "survey")
    assert store.attrs["snr_interval"] == spectra_conditions(store)["snr_interval"] == "0.09 nm"
    assert "per 0.09 nm" in store.variable_attrs("snr")["description"]
    build_survey(folder, tmp_path / "plain.zarr", settings(), executor=EXECUTOR)
    plain = Store.open(tmp_path / "plain.zarr", "survey")
    assert "snr_interval" not in plain.attrs
    assert "per pixel" in plain.variable_attrs("snr")["description"]


def test_an_interval_without_that_of_the_files_is_refused():
    with pytest.raises(ValueError, match="given, the interval"):
        settings(snr={"interval": 0.0245})


def test_labels_are_cut_first_and_then_the_best_row_of_a_star_is_taken(archive, survey):
    cuts = [{"column": "ASPCAPFLAG", "forbidden_bits": [23]}, {"column": "SNR", "maximum": 190}]
    changes = {"labels": {"reader": "apogee", "files": "allStar*.fits", "cuts": cuts}}
    summary = build_survey(archive.write(), survey, settings(**changes), executor=EXECUTOR)
    stars = contents(survey)
    labelled = np.flatnonzero(np.isfinite(stars["label"]).any(axis=1))
    # Every second star has a row; row 3 of the table is flagged, the last has too high an S/N.
    assert labelled.tolist() == [0, 2, *range(6, 26, 2)]
    assert summary.labelled == len(labelled)
    assert stars["label_snr"][0] == pytest.approx(100)
    assert stars["label"][0, 0] == 1.0
    assert np.isnan(stars["label"][6, 2])


def test_a_label_of_the_surveys_own_is_kept_with_what_is_said_of_it(archive, survey):
    labels = {
        "reader": "apogee",
        "files": "allStar*.fits",
        "labels": ["teff", "vmic"],
        "columns": {"vmic": "SNR"},
        "info": {"vmic": {"unit": "km/s"}},
    }
    build_survey(archive.write(), survey, settings(labels=labels), executor=EXECUTOR)
    store = Store.open(survey)
    assert store.attrs["label_info"]["vmic"]["unit"] == "km/s"
    assert list(store.attrs["label_info"]) == ["vmic"]
    assert store.coordinate_attrs("label")["unit_of"] == {"teff": "K", "vmic": "km/s"}
    assert np.nanmax(contents(survey)["label"][:, 1]) > 50


def test_the_store_opens_in_xarray_with_units_and_provenance(archive, survey):
    build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    with xr.open_zarr(survey) as data:
        assert data.sizes["star"] == 27
        assert data.sizes["pixel"] == PIXELS // 3
        assert data["parallax"].attrs["units"] == "mas"
        assert data["photometry"].attrs["units"] == "mag"
        assert data["wavelength"].attrs["unit"] == "nm"
        assert data["wavelength"].attrs["medium"] == "vacuum"
        assert data["wavelength"].attrs["frame"] == "stellar rest"
        assert data.attrs["complete"] is True
        assert data.attrs["release"] == "DR3"
        assert data.attrs["counts"]["stars"] == 27
        assert data.attrs["ingest"]["prepare"]["rebin"] == 3
        assert len(data.attrs["inputs"]) == 64
        flux = data["flux"].values
    expected = archive.flux[1][:60].reshape(20, 3).mean(axis=1)
    np.testing.assert_allclose(flux[1], expected, atol=6e-5)


def test_progress_is_reported_as_events(archive, survey):
    events = []
    build_survey(archive.write(), survey, settings(), executor=EXECUTOR, listener=events.append)
    started = [event for event in events if isinstance(event, StageStarted)]
    assert [(event.unit, event.total) for event in started] == [("files", 3), ("stars", 27)]
    stars = sum(e.count for e in events if isinstance(e, Advanced) and "write" in e.stage)
    assert stars == 27
    assert isinstance(events[-1], StageEnded)
    assert events[-1].facts["stars"] == 27


# --- resuming --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    build_survey(
        TinyArchive(folder / "archive").write(),
        folder / "survey.zarr",
        settings(),
        executor=EXECUTOR,
    )
    return folder / "survey.zarr"


@pytest.mark.parametrize("survives", [0, 2, 3, 6])
def test_a_run_that_dies_anywhere_ends_as_if_it_had_not(
    archive, survey, tmp_path, undisturbed, survives
):
    archive.write()
    with pytest.raises(KeyboardInterrupt):
        build_survey(archive.folder, survey, settings(), executor=DyingExecutor(survives))
    assert not survey.exists()
    second = DyingExecutor(100)
    build_survey(archive.folder, survey, settings(), executor=second)
    assert second.done == 3 + 4 - survives
    assert digests_of(survey) == digests_of(undisturbed)
    assert Store.open(survey).attrs == Store.open(undisturbed).attrs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "survey.zarr"]


def digests_of(path):
    store = Store.open(path, "survey")
    fresh = {region.name: store.digest(region) for region in store.regions()}
    done = Ledger.read(store.private / "ledger.jsonl").done
    assert {name: facts["digest"] for name, facts in done.items()} == fresh
    return fresh


def test_a_finished_survey_is_not_made_again(archive, survey):
    first = build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    events = []
    executor = DyingExecutor(0)
    again = build_survey(
        archive.folder, survey, settings(), executor=executor, listener=events.append
    )
    assert again.stars == first.stars
    assert any(isinstance(e, Notice) and "complete already" in e.text for e in events)


def test_two_ingests_do_not_share_a_survey(archive, survey):
    refused = []

    def second(event):
        if isinstance(event, StageStarted):
            with pytest.raises(StoreError, match=r"another ingest makes this survey.*process"):
                build_survey(archive.folder, survey, settings(), executor=EXECUTOR)
            with pytest.raises(StoreError, match="another ingest makes this survey"):
                discard_unfinished(survey)
            refused.append(event.stage)

    build_survey(archive.write(), survey, settings(), executor=EXECUTOR, listener=second)
    assert len(refused) == 2
    assert not survey.with_name(f"{survey.name}.partial").exists()


def test_the_size_of_blocks_may_change_and_changes_nothing(archive, survey, undisturbed):
    build_survey(archive.write(), survey, settings(block_rows=100), executor=EXECUTOR)
    assert digests_of(survey) == digests_of(undisturbed)
    build_survey(archive.folder, survey, settings(), executor=DyingExecutor(0))


def test_other_settings_may_not_continue_a_survey(archive, survey):
    build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    with pytest.raises(FingerprintMismatch, match=r"ingest\.prepare\.rebin = 3") as caught:
        build_survey(archive.folder, survey, settings(prepare__rebin=2), executor=EXECUTOR)
    assert "Use another output path" in caught.value.cure


def test_other_settings_may_not_continue_half_a_survey(archive, survey):
    with pytest.raises(KeyboardInterrupt):
        build_survey(archive.write(), survey, settings(), executor=DyingExecutor(2))
    with pytest.raises(FingerprintMismatch, match=r"ingest\.prepare\.trim"):
        build_survey(archive.folder, survey, settings(prepare__trim=(1, 0)), executor=EXECUTOR)


def test_other_files_may_not_continue_a_survey(archive, survey):
    build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    file = archive.folder / archive.name("GaiaSource", 2)
    file.rename(file.with_name("GaiaSource_002000-003000.csv.gz"))
    with pytest.raises(FingerprintMismatch):
        build_survey(archive.folder, survey, settings(), executor=EXECUTOR)


def test_a_file_that_changed_after_it_was_used_is_named(archive, survey):
    with pytest.raises(KeyboardInterrupt):
        build_survey(archive.write(), survey, settings(), executor=DyingExecutor(2))
    name = archive.name("GaiaSource")
    archive.lines[name].append(archive.lines[name][0])
    archive.write()
    with pytest.raises(FingerprintMismatch, match=f"{name} has changed"):
        build_survey(archive.folder, survey, settings(), executor=EXECUTOR)


def test_a_path_that_holds_something_else_is_left_alone(archive, survey):
    survey.mkdir()
    (survey / "thesis.tex").write_text("dear")
    with pytest.raises(StoreError):
        build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    assert (survey / "thesis.tex").read_text() == "dear"


# --- who stands in the archive twice ---------------------------------------------------------


def test_the_first_row_of_a_star_is_kept_and_later_ones_are_listed(archive, survey):
    name = archive.name("Rvs")
    lines = archive.lines[name]
    lines.insert(5, lines[2].replace(",59,", ",60,", 1))
    lines.append(lines[0])
    summary = build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    assert (summary.stars, summary.quarantined) == (27, 2)
    listed = quarantine(survey)
    assert listed["row"].tolist() == [6, 11]
    assert set(listed["reason"]) == {"duplicate_source_id"}
    assert listed["file"].tolist() == [name, name]
    assert listed["source_id"].tolist() == [archive.source_id[2], archive.source_id[0]]
    assert "row 3 already" in listed["detail"][0]
    assert contents(survey)["source_id"].tolist() == archive.source_id


def test_a_star_in_two_files_is_kept_from_the_first(archive, survey, tmp_path):
    first, last = archive.name("Rvs", 0), archive.name("Rvs", 2)
    source_first, source_last = archive.name("GaiaSource", 0), archive.name("GaiaSource", 2)
    archive.lines[last].append(archive.lines[first][4])
    archive.lines[source_last].append(archive.lines[source_first][8])
    archive.lines[first].append(archive.lines[last][3])
    archive.lines[source_first].append(archive.lines[source_last][6])
    events = []
    summary = build_survey(
        archive.write(), survey, settings(), executor=EXECUTOR, listener=events.append
    )
    assert (summary.stars, summary.quarantined) == (27, 2)
    listed = quarantine(survey)
    assert listed["file"].tolist() == [last, last]
    assert sorted(listed["row"]) == [4, 10]
    ids = contents(survey)["source_id"]
    assert len(set(ids.tolist())) == 27
    assert ids[9] == archive.source_id[21]
    assert any(isinstance(e, Notice) and "duplicate_source_id 2" in e.text for e in events)
    with pytest.raises(KeyboardInterrupt):
        build_survey(archive.folder, tmp_path / "again.zarr", settings(), executor=DyingExecutor(5))
    build_survey(archive.folder, tmp_path / "again.zarr", settings(), executor=EXECUTOR)
    assert digests_of(survey) == digests_of(tmp_path / "again.zarr")


def test_duplicates_across_files_are_found_in_little_memory(archive, survey, monkeypatch):
    first, last = archive.name("Rvs", 0), archive.name("Rvs", 2)
    archive.lines[last] += archive.lines[first]
    archive.lines[archive.name("GaiaSource", 2)] += archive.lines[archive.name("GaiaSource", 0)]
    monkeypatch.setattr("distcnn.ingest.assembly.repeats.MAX_IDS_IN_MEMORY", 4)
    summary = build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    assert (summary.stars, summary.quarantined) == (27, 9)


def test_a_source_row_that_comes_twice_counts_once(archive, survey):
    name = archive.name("GaiaSource")
    archive.lines[name].append(archive.lines[name][0].replace(",20.0,", ",99.0,"))
    summary = build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    assert summary.quarantined == 0
    assert summary.quarantined_by_kind == {"source": 1}
    assert contents(survey)["snr"][0] == pytest.approx(20)


# --- surveys of other kinds ------------------------------------------------------------------


def test_a_survey_of_photometry_alone_has_the_stars_of_the_source_table(archive, survey):
    config = settings(spectra=None, xp=None)
    summary = build_survey(archive.write(), survey, config, executor=EXECUTOR)
    assert summary.stars == 54
    store = Store.open(survey, "survey")
    assert "flux" not in store.variables
    assert "xp" not in store.variables
    assert "pixel" not in store.sizes
    assert store.coordinate("band").tolist() == list(config.bands)
    assert summary.labelled == 14


def test_a_survey_of_spectra_alone_has_nothing_else(archive, survey):
    config = settings(source=None, xp=None, labels=None, source_required=False)
    build_survey(archive.write(), survey, config, executor=EXECUTOR)
    store = Store.open(survey, "survey")
    names = {"source_id", "ra", "dec", "snr", "flux", "flux_error", "mask"}
    assert set(store.variables) == names
    assert np.isfinite(store.read(Region(0, 27), ["ra"])["ra"]).all()


SOURCE = {"reader": "gaia_source", "files": "GaiaSource_*.csv.gz"}


@pytest.mark.parametrize("kinds", [{}, {"spectra": None, "xp": None}])
def test_a_scalar_of_the_schema_comes_from_the_column_that_is_named(
    archive, survey, monkeypatch, kinds
):
    vbroad = Variable("vbroad", ("star",), "float32", "km/s", "line broadening")
    monkeypatch.setitem(SURVEY_VARIABLES, "vbroad", vbroad)
    named = settings(source={**SOURCE, "columns": {"vbroad": "rvs_spec_sig_to_noise"}}, **kinds)
    build_survey(archive.write(), survey, named, executor=EXECUTOR)
    store = Store.open(survey, "survey")
    stars = contents(survey)
    known = np.isfinite(stars["vbroad"])
    # Where the archive's own S/N is missing, that of the spectrum stands in; a scalar has none.
    np.testing.assert_array_equal(stars["vbroad"][known], stars["snr"][known])
    assert 0 < known.sum() < store.stars
    with xr.open_zarr(survey) as data:
        assert data["vbroad"].attrs["units"] == "km/s"


def test_a_scalar_that_no_column_is_named_for_is_not_stored(archive, survey, monkeypatch):
    vbroad = Variable("vbroad", ("star",), "float32", "km/s", "line broadening")
    monkeypatch.setitem(SURVEY_VARIABLES, "vbroad", vbroad)
    build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    assert "vbroad" not in Store.open(survey, "survey").variables


def test_a_scalar_that_would_be_left_out_is_refused_with_its_place(archive, survey, monkeypatch):
    vbroad = Variable("vbroad", ("star",), "float32", "km/s", "line broadening")
    monkeypatch.setitem(SURVEY_VARIABLES, "vbroad", vbroad)
    spectra = {"reader": "gaia_rvs", "files": "Rvs*", "columns": {"vbroad": "combined_transits"}}
    with pytest.raises(ConfigError, match=r"ingest\.spectra\.columns names 'vbroad'") as caught:
        build_survey(archive.write(), survey, settings(spectra=spectra), executor=EXECUTOR)
    assert "source" in caught.value.cure


def test_a_survey_of_nothing_is_refused(archive, survey):
    with pytest.raises(ConfigError, match="both null"):
        build_survey(
            archive.write(), survey, settings(spectra=None, source=None), executor=EXECUTOR
        )


@pytest.mark.parametrize(("encoding", "bound"), [("float16", 1e-3), ("float32", 1e-6)])
def test_flux_can_be_stored_as_floats(archive, survey, encoding, bound):
    config = settings(store__flux_encoding=encoding, store__keep_flux_error=False, prepare__rebin=1)
    build_survey(archive.write(), survey, config, executor=EXECUTOR)
    stars = contents(survey)
    assert "flux_error" not in stars
    np.testing.assert_allclose(stars["flux"][1], archive.flux[1], atol=bound)


def test_flux_that_the_store_cannot_hold_is_masked(archive, survey):
    name = archive.name("Rvs")
    line = archive.lines[name][1]
    archive.lines[name][1] = line.replace(f"{np.round(archive.flux[1][10], 6)}", "-7.0", 1)
    build_survey(archive.write(), survey, settings(prepare__rebin=1), executor=EXECUTOR)
    stars = contents(survey)
    assert stars["mask"][1, 10] == 4
    assert np.isnan(stars["flux"][1, 10])


def test_files_without_a_range_share_a_part(tmp_path, survey):
    archive = TinyArchive(tmp_path / "archive")
    archive.write()
    for number in range(3):
        file = archive.folder / archive.name("Rvs", number)
        file.rename(archive.folder / f"RvsMeanSpectrum_{number}.csv.gz")
        file = archive.folder / archive.name("GaiaSource", number)
        file.rename(archive.folder / f"GaiaSource_{number}.csv.gz")
    executor = DyingExecutor(100)
    summary = build_survey(archive.folder, survey, settings(), executor=executor)
    assert summary.stars == 27
    assert executor.done == 1 + 4
    assert summary.quarantined == 0


def test_a_missing_folder_and_missing_files_are_named(archive, survey, tmp_path):
    with pytest.raises(InputError, match="no folder"):
        build_survey(tmp_path / "nowhere", survey, settings(), executor=EXECUTOR)
    archive.write()
    for file in archive.folder.glob("Xp*"):
        file.unlink()
    with pytest.raises(InputError, match=r"Xp\w+\*\.csv") as caught:
        build_survey(archive.folder, survey, settings(), executor=EXECUTOR)
    assert "null" in caught.value.cure


def test_labels_that_all_fail_the_cuts_are_reported(archive, survey):
    cuts = [{"column": "SNR", "minimum": 1e6}]
    changes = {"labels": {"reader": "apogee", "files": "allStar*.fits", "cuts": cuts}}
    events = []
    summary = build_survey(
        archive.write(), survey, settings(**changes), executor=EXECUTOR, listener=events.append
    )
    assert summary.labelled == 0
    assert any(isinstance(e, Notice) and "passes the cuts" in e.text for e in events)


def warnings_of(told):
    return [event.text for event in told if isinstance(event, Notice) and event.level == "warning"]


def test_new_stars_are_ingested_with_the_configuration_of_the_training_survey(archive, survey):
    (archive.write() / "allStar-tiny.fits").rename(archive.folder / "allstar.fits")
    told = []
    summary = build_survey(
        archive.folder, survey, settings(), executor=EXECUTOR, listener=told.append
    )
    assert (summary.stars, summary.labelled) == (27, 0)
    store = Store.open(survey)
    assert "label" not in store.variables
    (warning,) = warnings_of(told)
    assert f"no file below {archive.folder} is called allStar*.fits" in warning
    assert "not read there: allstar.fits" in warning  # so a misspelt pattern is seen
    assert store.attrs["unlabelled"] in warning
    again = build_survey(archive.folder, survey, settings(), executor=EXECUTOR)
    assert again.stars == 27


@pytest.mark.parametrize("columns", [{}, {"teff": "phot_rp_mean_mag"}])
def test_a_table_that_serves_as_labels_too_may_have_no_column_of_them(archive, survey, columns):
    labels = {"reader": "table", "files": "GaiaSource_*.csv.gz", "labels": ["teff", "logg"]}
    config = settings(labels=labels | {"columns": columns})
    told = []
    if columns:
        # One of the two labels is there: this is a label table, and the other column is missed.
        with pytest.raises(InputError, match="no column 'logg'") as caught:
            build_survey(archive.write(), survey, config, executor=EXECUTOR)
        assert "For stars to predict" in caught.value.cure
        return
    build_survey(archive.write(), survey, config, executor=EXECUTOR, listener=told.append)
    (warning,) = warnings_of(told)
    assert "has no column of teff, logg" in warning


def test_a_label_table_that_is_there_and_broken_stays_an_error(archive, survey):
    (archive.write() / "allStar-tiny.fits").write_bytes(b"SIMPLE")
    with pytest.raises(InputError, match="allStar-tiny"):
        build_survey(archive.folder, survey, settings(), executor=EXECUTOR)
    labels = {"reader": "apogee", "files": "allStar*.fits", "columns": {"teff": "nothing"}}
    archive.write()
    with pytest.raises(InputError, match="'nothing'"):
        build_survey(
            archive.folder, survey.with_name("b"), settings(labels=labels), executor=EXECUTOR
        )


def test_a_refused_ingest_does_not_block_the_corrected_command(archive, survey):
    folder = archive.write()
    wrong = settings(spectra__reader="gaia_rvs", spectra__files="Rvs*", grid__size=PIXELS + 1)
    with pytest.raises(InputError):
        build_survey(folder, survey, wrong, executor=EXECUTOR)
    assert (survey.parent / "survey.zarr.partial").exists()
    assert build_survey(folder, survey, settings(), executor=EXECUTOR).stars == 27
    assert not (survey.parent / "survey.zarr.partial").exists()


def test_an_ingest_that_was_begun_otherwise_names_the_setting_the_path_and_restart(archive, survey):
    folder = archive.write()
    with pytest.raises(KeyboardInterrupt):
        build_survey(folder, survey, settings(), executor=DyingExecutor(2))
    with pytest.raises(FingerprintMismatch) as caught:
        build_survey(folder, survey, settings(prepare__rebin=2), executor=EXECUTOR)
    told = str(caught.value)
    assert "ingest.prepare.rebin = 3: expected ingest.prepare.rebin = 2" in told
    assert f"--restart removes {survey}.partial" in told
    discard_unfinished(survey)
    done = build_survey(folder, survey, settings(prepare__rebin=2), executor=EXECUTOR)
    assert done.stars == 27
    discard_unfinished(survey)
    assert survey.exists()
