"""Several spectra of one star: the best, the first, their mean, or each as a row of its own."""

import numpy as np
import pytest
from dying_executor import contents, quarantine
from numpy.testing import assert_allclose
from tiny_archive import PIXELS, TinyArchive, array_text, settings

from distcnn.events import Notice
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.ingest.assembly.repeats import mean_spectrum
from distcnn.schema import MaskBit
from distcnn.survey import SPECTRUM_KEY, STAR_KEY, Store


@pytest.fixture
def archive(tmp_path):
    """Star 0 has a spectrum of half the errors in a later row, star 1 in a later file."""
    archive = TinyArchive(tmp_path / "archive")
    first, last = archive.name("Rvs", 0), archive.name("Rvs", 2)
    archive.lines[first].append(second_spectrum(archive, 0))
    archive.lines[last].append(second_spectrum(archive, 1))
    for kind, row in (("GaiaSource", 2), ("Xp", 1)):  # of each part by its HEALPix range
        archive.lines[archive.name(kind, 2)].append(archive.lines[archive.name(kind, 0)][row])
    archive.write()
    return archive


def second_spectrum(archive: TinyArchive, star: int) -> str:
    flux = np.nan_to_num(archive.flux[star], nan=1.0) + 0.1
    arrays = f"{array_text(flux)},{array_text(np.full(PIXELS, 0.01))}"
    return f"{archive.source_id[star]},59,10.0,20.0,{arrays},7"


def ingested(archive, tmp_path, rule):
    events = []
    config = settings(repeats=rule, prepare={"rebin": 1, "outlier_sigma": None})
    path = tmp_path / f"{rule}.zarr"
    summary = build_survey(
        archive.folder, path, config, executor=SerialExecutor(), listener=events.append
    )
    said = [event.text for event in events if isinstance(event, Notice) and "repeats" in event.text]
    return summary, path, said


def spectra_of(path, star):
    stars = contents(path)
    return stars["flux"][stars["source_id"] == star], stars["flux_error"][
        stars["source_id"] == star
    ]


@pytest.mark.parametrize(
    ("rule", "error", "kept"), [("best", 0.01, "best"), ("first", 0.02, "first")]
)
def test_one_spectrum_of_a_star_is_kept_and_the_others_are_listed_and_told(
    archive, tmp_path, rule, error, kept
):
    summary, path, said = ingested(archive, tmp_path, rule)
    assert (summary.stars, summary.quarantined, summary.repeats) == (27, 2, 2)
    assert set(quarantine(path)["reason"]) == {"duplicate_source_id"}
    assert sorted(quarantine(path)["source_id"]) == sorted(archive.source_id[:2])
    assert len(said) == 1
    assert said[0].startswith("2 spectra are of stars that have one already: of each star the")
    assert rule in said[0]
    for star in archive.source_id[:2]:
        assert_allclose(spectra_of(path, star)[1][0, 10:], error, rtol=2e-3)
    stars = contents(path)
    assert sorted(stars["source_id"]) == sorted(archive.source_id)
    assert np.isfinite(stars["photometry"]).all()


def test_spectra_are_coadded_weighted_by_their_inverse_variance(archive, tmp_path):
    summary, path, said = ingested(archive, tmp_path, "coadd")
    assert (summary.stars, summary.quarantined, summary.repeats) == (27, 0, 2)
    assert "co-added" in said[0]
    for number, star in enumerate(archive.source_id[:2]):
        flux, error = spectra_of(path, star)
        assert flux.shape == (1, PIXELS)
        expected = archive.flux[number] + 0.1 * 0.8  # weights of 1 and 4
        assert_allclose(flux[0, 5:], expected[5:], atol=1e-4)
        assert_allclose(error[0, 5:], 0.02 / np.sqrt(5), rtol=2e-3)
    # Pixels that one spectrum lacks are those of the other.
    assert_allclose(spectra_of(path, archive.source_id[0])[0][0, :5], 1.1, atol=1e-4)
    assert_allclose(spectra_of(path, archive.source_id[0])[1][0, :5], 0.01, rtol=2e-3)
    assert contents(path)["label"].shape[0] == 27


def test_each_spectrum_is_a_row_of_its_own_with_what_is_known_of_its_star(archive, tmp_path):
    summary, path, said = ingested(archive, tmp_path, "each")
    assert (summary.stars, summary.quarantined, summary.repeats) == (29, 0, 2)
    assert "a row of its own" in said[0]
    store, stars = Store.open(path, "survey"), contents(path)
    assert store.row_key == SPECTRUM_KEY
    SPECTRUM_KEY.check_unique(stars, path)
    for number, star in enumerate(archive.source_id[:2]):
        rows = np.flatnonzero(stars["source_id"] == star)
        assert len(rows) == 2
        for name in ("photometry", "parallax", "xp", "label"):
            assert stars[name][rows[0]].tobytes() == stars[name][rows[1]].tobytes(), name
        expected = [np.nanmedian(archive.flux[number] / 0.02)]
        expected += [np.nanmedian((np.nan_to_num(archive.flux[number], nan=1.0) + 0.1) / 0.01)]
        assert_allclose(stars["snr"][rows], expected, rtol=1e-3)


@pytest.mark.parametrize(("rule", "stars"), [("each", 29), ("coadd", 27)])
def test_copies_of_a_spectrum_are_quarantined_whether_in_a_file_or_in_another(
    archive, tmp_path, rule, stars
):
    name = archive.name("Rvs", 0)
    archive.lines[name].append(archive.lines[name][3])
    archive.write()
    (archive.folder / "copy").mkdir()
    (archive.folder / "copy" / name).write_bytes((archive.folder / name).read_bytes())
    summary, path, _ = ingested(archive, tmp_path, rule)
    # Star 3 twice in each file, and the ten others of the first file in its copy.
    assert (summary.stars, summary.quarantined) == (stars, 12)
    assert set(quarantine(path)["reason"]) == {"duplicate_source_id"}
    assert_allclose(spectra_of(path, archive.source_id[4])[1][0, 10:], 0.02, rtol=2e-3)


def test_a_survey_of_stars_that_have_one_spectrum_says_nothing_of_it(tmp_path):
    archive = TinyArchive(tmp_path / "archive")
    archive.write()
    summary, path, said = ingested(archive, tmp_path, "best")
    assert (summary.repeats, said) == (0, [])
    assert Store.open(path, "survey").row_key == STAR_KEY


def test_a_mean_without_errors_is_plain_and_joins_the_masks_where_nothing_is_good():
    missing, edge = np.uint8(MaskBit.MISSING), np.uint8(MaskBit.EDGE)
    one = {"flux": np.array([1, 2, np.nan]), "mask": np.array([0, 0, missing], np.uint8)}
    other = {"flux": np.array([3, np.nan, np.nan]), "mask": np.array([0, edge, edge], np.uint8)}
    snr = {"snr": np.float32(7), "spectrum_snr": 9.0}
    mean = mean_spectrum([one | snr, other | snr])
    assert mean["flux"][:2].tolist() == [2, 2]
    assert np.isnan(mean["flux"][2])
    assert mean["mask"].tolist() == [0, 0, missing | edge]
    assert "snr" not in mean  # the source table's own is of the star
    assert mean_spectrum([one | snr | {"snr": 9.0}, other | snr])["snr"] == pytest.approx(
        9 * 2**0.5
    )
