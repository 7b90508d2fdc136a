"""A first configuration for an unknown file: it can be read, marks its guesses, and comes close."""

import contextlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from conformance.reader_checks import read_all
from layout_files import LINEAR, spectra, write_layout

from distcnn.config import load_config
from distcnn.errors import DistcnnError, InputError
from distcnn.ingest.plan import spectra_reader_of
from distcnn.ingest.preview import describe_preview, preview_file
from distcnn.ingest.preview.guess import guess
from distcnn.pipeline import guess_configuration

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from lib import fuzzing
from lib.survey_files import write_survey

EASY = ("lamost_lrs_dr9", "lamost_mrs_dr8", "mwm", "fourmost_lr", "ges_hr15n", "weave",
        "hats", "mmu", "apogee_apstar")  # fmt: skip
REAL = ("lamost_lrs", "lamost_mrs", "sdss_boss", "apogee", "desi")


def guessed(path: Path, folder: Path):
    """The configuration that is guessed for a file, and its text."""
    text = guess(path)
    conf = folder / "guessed.yaml"
    conf.write_text(text)
    return load_config(conf).ingest, text


def data_file(folder: Path) -> Path:
    return sorted(path for path in folder.rglob("*") if path.is_file())[0]


@pytest.mark.parametrize("name", EASY)
def test_a_guess_finds_the_lines_of_a_survey_where_they_are(tmp_path, name):
    stars = write_survey(name, tmp_path / "files")
    path = data_file(tmp_path / "files")
    config, text = guessed(path, tmp_path)
    assert "guess" in text
    preview = preview_file(path, config)
    assert preview.error is None
    one = preview.spectra[0]
    assert len(one.lines.velocity) >= 3
    assert abs(one.lines.median - stars[0].velocity) < 9
    assert one.snr == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("shape", ["row_per_star", "row_per_pixel", "image_rows"])
def test_a_guess_reads_what_was_written(tmp_path, shape):
    path, _, _ = write_layout(tmp_path, shape, "sigma", "column", "header")
    config, text = guessed(path, tmp_path)
    block = read_all(spectra_reader_of(config), path)
    flux, sigma = spectra(1)
    np.testing.assert_allclose(block.columns["flux"], flux, rtol=1e-6)
    np.testing.assert_allclose(block.columns["flux_error"], sigma, rtol=1e-6)
    np.testing.assert_allclose(spectra_reader_of(config).wavelength(path), LINEAR)
    assert 'error_kind: "sigma"  # guess' in text
    assert "GUESS, the file does not say" in text


def test_what_a_file_says_is_no_guess(tmp_path):
    write_survey("fourmost_lr", tmp_path / "files")
    text = guess(data_file(tmp_path / "files"))
    assert "# medium: air, as the file says: UCD of WAVE = 'em.wl;obs.atmos'" in text
    assert "# frame: barycentric, as the file says: SPECSYS = 'HELIOCEN'" in text
    assert "unit: Angstrom  # the file says" in text
    assert "GUESS" not in text


def test_a_text_without_names_of_columns_gets_some(tmp_path):
    rows = [f"{5000 + pixel} {1 + 0.01 * (pixel % 7)} 0.01" for pixel in range(60)]
    (tmp_path / "star.dat").write_text("\n".join(rows) + "\n")
    config, text = guessed(tmp_path / "star.dat", tmp_path)
    assert 'text_columns: ["wavelength", "flux", "error"]' in text
    assert preview_file(tmp_path / "star.dat", config).spectra[0].snr == pytest.approx(103)


def test_wavelengths_in_air_that_are_taken_for_vacuum_raise_a_doubt(tmp_path):
    write_survey("rave_dr6", tmp_path / "files")
    path = sorted((tmp_path / "files").iterdir())[1]
    config, _ = guessed(path, tmp_path)
    text = describe_preview(preview_file(path, config), config)
    assert re.search(r"doubt        in air the lines would be at [+-]\d km/s", text)


def test_a_guess_for_a_damaged_file_is_a_guess_or_a_clear_error(tmp_path):
    seeds = [seed for seed in fuzzing.seeds() if seed.reader in ("described", "table")]
    rng = np.random.default_rng(8)
    for number in range(300):
        seed = seeds[number % len(seeds)]
        path = tmp_path / seed.name
        path.write_bytes(fuzzing.damaged(seed, rng))
        with contextlib.suppress(DistcnnError):
            guess(path)


@pytest.mark.parametrize(
    "names",
    [
        ("wl", "fl", "er"),
        ("lambda_A", "norm_flux", "sig"),
        ("wavelength_vac", "flux_norm", "flux_error"),
        ("WAVE_AIR", "FLUX_CAL", "NOISE"),
        ("Wavelength(A)", "Flux", "Err"),
        ("waveobs", "flux", "err"),
        ("spectrum_lambda", "spectrum_flux", "spectrum_ivar"),
    ],
)
def test_columns_are_guessed_by_the_names_that_programs_give_them(tmp_path, names):
    path = tmp_path / "HD.12.fits.gz"
    columns = (5000 + 0.5 * np.arange(60), 1 + 0.1 * np.sin(np.arange(60)), np.full(60, 0.01))
    Table(dict(zip(names, columns, strict=True))).write(path, format="fits")
    config, text = guessed(path, tmp_path)
    layout = config.spectra.layout
    assert (layout.wavelength, layout.flux, layout.error) == names
    assert 'files: "*.fits.gz"' in text
    assert preview_file(path, config).spectra[0].name == "HD.12"


def test_a_file_without_a_spectrum_is_told(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    table.writeto(tmp_path / "a.fits")
    with pytest.raises(InputError, match="nothing in it looks like a spectrum") as caught:
        guess_configuration(tmp_path / "a.fits")
    assert "table of 2 rows: a" in str(caught.value)


@pytest.mark.real
@pytest.mark.parametrize("folder", REAL)
def test_a_guess_for_real_files_can_be_read(real_data, tmp_path, folder):
    where = real_data / "real_files" / folder
    if not where.is_dir():
        pytest.skip(f"real_files/{folder} is missing in DISTCNN_DATA")
    for path in sorted(where.iterdir()):
        config, _ = guessed(path, tmp_path)
        preview = preview_file(path, config)
        assert preview.error is None
        assert preview.count >= 1
