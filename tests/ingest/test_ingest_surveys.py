"""Every configuration of conf/surveys on files in its survey's layout, real ones where there are.

The written files hold lines at known velocities: they are found there only if wavelengths, their
unit, medium and spacing, and the order of arms, are right.
"""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distcnn.config import conf_folder, load_config
from distcnn.errors import FileBroken, GridMismatch
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.ingest.plan import spectra_reader_of
from distcnn.ingest.preview import describe_preview, preview_file
from distcnn.ingest.preview.known_lines import find_lines
from distcnn.ingest.readers.values.identifiers import identify
from distcnn.ingest.selection import ArchiveTree, find_files
from distcnn.survey import Region, Store

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from lib.survey_files import SNR, WRITERS, write_survey

PRESETS = sorted(path.stem for path in (conf_folder() / "surveys").glob("*.yaml"))
REAL = {  # configuration -> folder of real files, spectra, velocity known to a few km/s by star
    "lamost_lrs": ("lamost_lrs", 2, {"spec-55862-B6212_sp06-250": 64.4}),
    "lamost_mrs": ("lamost_mrs", 2, {}),
    "sdss_boss": ("sdss_boss", 1, {}),
    # shifted by the -67.5 km/s that the file gives
    "apogee_apvisit": ("apogee", 1, {"2M00242666+5341178": 0.0}),
    "desi": ("desi", 2, {}),
    "fourmost_4fs": ("fourmost", 1, {"star5000_4fs_lrs": 0.0}),
}
TOLERANCE_KM_S = 9.0
"""Of the median of the lines, at a resolution of 1,800; a third of that from 5,000 on."""


def ingest(name, folder, survey):
    config = load_config(Path(name)).ingest
    done = build_survey(folder, survey, config, executor=SerialExecutor())
    return done, Store.open(survey)


def test_every_configuration_of_a_survey_is_tried_on_files():
    assert WRITERS.keys() | REAL.keys() <= set(PRESETS)
    root = Path(__file__).parents[2]
    scripts = [*root.glob("benchmarks/**/*.py"), *root.glob("tests/**/*.py")]
    texts = [path.read_text() for path in scripts]
    for name in PRESETS:
        assert any(name in text for text in texts), name
        text = (conf_folder() / "surveys" / f"{name}.yaml").read_text()
        assert "# How sure" in text or "How sure:" in text, name


@pytest.mark.parametrize("name", WRITERS)
def test_files_in_the_published_layout_become_the_spectra_that_were_written(tmp_path, name):
    stars = write_survey(name, tmp_path / "archive")
    done, store = ingest(name, tmp_path / "archive", tmp_path / "survey.zarr")
    assert (done.stars, done.quarantined) == (len(stars), 0)
    assert done.unusable_files == 0
    block = store.read(Region(0, store.stars), ["source_id", "flux", "flux_error", "mask", "snr"])
    expected = {identify(star.name, names=True)[0]: star.velocity for star in stars}
    assert set(block["source_id"].tolist()) == set(expected)
    config = load_config(Path(name)).ingest
    width = config.grid.step or np.nan  # no interval is asked for where no grid is declared
    factor = config.snr.factor_per_pixel(width, config.prepare.noise_correlation)
    np.testing.assert_allclose(block["snr"], factor * SNR, rtol=0.05)
    said, wavelength = store.coordinate_attrs("wavelength"), store.coordinate("wavelength")
    low = name in ("lamost_lrs_dr9", "mwm_boss", "hats", "mmu")
    for row, star in enumerate(block["source_id"].tolist()):
        flux = np.where(block["mask"][row] == 0, block["flux"][row], np.nan)
        lines = find_lines(wavelength, flux, None, said["unit"], said["medium"])
        assert len(lines.velocity) >= 3
        assert abs(lines.median - expected[star]) < TOLERANCE_KM_S / (1 if low else 3)
    ratio = block["flux"] / block["flux_error"]
    assert np.nanmedian(ratio) > SNR / 3  # the error is one of the flux, not its inverse


@pytest.mark.parametrize("name", REAL)
@pytest.mark.real
def test_real_files_become_spectra_with_lines_where_they_belong(real_data, tmp_path, name):
    folder, count, velocities = REAL[name]
    where = real_data / "real_files" / folder
    if not where.is_dir():
        pytest.skip(f"real_files/{folder} is missing in DISTCNN_DATA")
    done, _ = ingest(name, where, tmp_path / "survey.zarr")
    assert (done.stars, done.quarantined, done.unusable_files) == (count, 0, 0)
    config = load_config(Path(name)).ingest
    for path in sorted(where.iterdir()):
        preview = preview_file(path, config)
        assert preview.error is None
        for one in preview.spectra:
            known = velocities.get(one.name)
            if known is not None:
                assert len(one.lines.velocity) >= 6
                assert abs(one.lines.median - known) < TOLERANCE_KM_S
                assert one.lines.scatter < TOLERANCE_KM_S


def test_spectra_are_shifted_to_rest_by_the_velocities_that_a_layout_names(tmp_path):
    stars = write_survey("lamost_lrs_dr9", tmp_path / "archive")
    sets = [
        "ingest.prepare.rest_frame={velocity: spectra}",
        "ingest.prepare.target.frame=stellar rest",
    ]
    config = load_config(Path("lamost_lrs_dr9"), sets).ingest
    build_survey(tmp_path / "archive", tmp_path / "s.zarr", config, executor=SerialExecutor())
    store = Store.open(tmp_path / "s.zarr")
    block = store.read(Region(0, store.stars), ["source_id", "flux", "velocity"])
    expected = {int(star.name): star.velocity for star in stars}
    said, wavelength = store.coordinate_attrs("wavelength"), store.coordinate("wavelength")
    assert said["frame"] == "stellar rest"
    for star, flux, velocity in zip(*block.values(), strict=True):
        assert velocity == pytest.approx(expected[int(star)], abs=0.01)
        lines = find_lines(wavelength, flux, None, said["unit"], said["medium"])
        assert abs(lines.median) < TOLERANCE_KM_S
    path = sorted((tmp_path / "archive").iterdir())[0]
    text = describe_preview(preview_file(path, config), config)
    assert "stellar rest; normalisation" in text
    assert "after a shift by -60.0" in text


def test_the_table_of_surveys_is_made_with_a_figure_each(tmp_path):
    script = Path(__file__).parents[2] / "benchmarks" / "surveys.py"
    words = [sys.executable, str(script), "rave_dr6", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| rave_dr6 | written | 3/3 | 3 |" in done.stdout
    assert "| -60, +0, +35 |" in done.stdout
    assert (tmp_path / "rave_dr6.png").stat().st_size > 10_000
    assert "known lines" in (tmp_path / "rave_dr6.txt").read_text()


def test_a_survey_that_nobody_knows_the_medium_of_has_to_be_told(tmp_path):
    from astropy.io import fits

    write_survey("weave", tmp_path)
    (path,) = tmp_path.iterdir()
    with fits.open(path, mode="update") as hdus:
        for hdu in hdus:
            hdu.header.remove("CTYPE1", ignore_missing=True)
    reader = spectra_reader_of(load_config(Path("weave")).ingest)
    with pytest.raises(GridMismatch, match=r"Set ingest\.grid\.medium: vacuum or air"):
        reader.wavelength(path)


@pytest.mark.parametrize("fmt", ["fits", "parquet", "xml", "csv"])
def test_gaia_spectra_of_dr4_are_alike_in_every_format(tmp_path, fmt):
    from lib import survey_files

    stars = list(survey_files._gaia_dr4(tmp_path, "MEAN_SPECTRUM_RVS", fmt))
    config = load_config(Path("gaia_rvs_dr4")).ingest
    (path,) = tmp_path.iterdir()
    preview = preview_file(path, config)
    assert preview.error is None
    assert [str(one.source_id) for one in preview.spectra] == [star.name for star in stars]
    assert preview.spectra[0].wavelength[[0, -1]].tolist() == [846.0, 870.0]
    for one, star in zip(preview.spectra, stars, strict=True):
        assert abs(one.lines.median - star.velocity) < 3
        assert one.good == pytest.approx(957 / 961)


def test_the_nested_columns_of_a_real_hats_catalogue_are_arrays(real_data):
    from distcnn.config import SpectrumLayoutConfig
    from distcnn.ingest.readers.formats.containers import table_sources
    from distcnn.ingest.readers.layouts.quantities import arm_reader
    from distcnn.ingest.readers.layouts.spectrum_file import opened

    path = real_data / "real_files/hats_nested/catalog/dataset/Norder=1/Dir=0/Npix=44.parquet"
    if not path.exists():
        pytest.skip("real_files/hats_nested is missing in DISTCNN_DATA")
    layout = SpectrumLayoutConfig.model_validate(
        {
            "shape": "row_per_star",
            "flux": "sources.mag",
            "wavelength": "sources.mjd",
            "id": {"column": "id"},
        }
    )
    with opened(next(table_sources(path))) as file:
        reader = arm_reader(file, layout, None, None)
        found = reader.read(0, 3)
    assert found.problems == {}
    assert (np.isfinite(found.arrays["flux"]) == np.isfinite(found.arrays["wavelength"])).all()
    assert np.isfinite(found.arrays["flux"]).sum(axis=1).min() > 10


def test_a_preview_tells_what_would_be_stored_and_a_failure_what_to_set(tmp_path):
    write_survey("fourmost_lr", tmp_path)
    config = load_config(Path("fourmost_lr")).ingest
    path = sorted(tmp_path.iterdir())[0]
    text = describe_preview(preview_file(path, config), config)
    for words in (
        "23201 pixels from 3700 to 9500 Angstrom",
        "air (the file says UCD of WAVE = 'em.wl;obs.atmos')",
        "barycentric (the file says SPECSYS = 'HELIOCEN')",
        "stored as    23140 pixels from 3710 to",
        "7000",
        "known lines",
        "lines",
        "*",
    ):
        assert words in text, words
    other = load_config(Path("sdss_boss")).ingest
    text = describe_preview(preview_file(path, other), other)
    assert "cannot be used" in text
    assert "PHASE3SPECTRUM, table of 1 rows: WAVE" in text
    assert "etch" not in text


def test_a_lone_file_that_is_cut_off_is_told_as_such_and_not_by_its_frame(tmp_path):
    write_survey("fourmost_lr", tmp_path)
    first, *others = sorted(tmp_path.iterdir())
    for other in others:
        other.unlink()
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    config = load_config("fourmost_lr").ingest
    with pytest.raises(FileBroken, match=r"its header announces .*truncated"):
        build_survey(tmp_path, tmp_path / "survey.zarr", config, executor=SerialExecutor())


def packed_by_gzip(path):
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    path.unlink()


def called_in_capital_letters(path):
    path.rename(path.with_suffix(path.suffix.upper()))


@pytest.mark.parametrize("changed", [packed_by_gzip, called_in_capital_letters])
@pytest.mark.parametrize("name", ["ges_hr15n", "galah_dr3", "apogee_aspcapstar", "rave_dr6"])
def test_files_of_other_endings_are_those_of_a_survey_too(name, changed, tmp_path):
    write_survey(name, tmp_path)
    config = load_config(name).ingest
    plain = [preview_file(path, config) for path in sorted(tmp_path.iterdir())]
    for path in sorted(tmp_path.iterdir()):
        changed(path)
    found = find_files(ArchiveTree(tmp_path), config.spectra).paths
    assert len(found) == len(plain)
    again = [preview_file(path, config) for path in found]
    spectra = [[one.title for one in preview.spectra] for preview in again]
    assert spectra == [[one.title for one in preview.spectra] for preview in plain]
