"""Other releases: a grid is a setting, and nothing but the sampling changes with it."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from archive_tables import arrays, table, truth
from pydantic import ValidationError

from distcnn.config import IngestConfig, ReleaseGridConfig, SimulateConfig, load_config
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.simulate import DR3_GRID, ReleaseGrid, noiseless, write_archive
from distcnn.simulate.cramer_rao import StarTruth, cramer_rao_bound
from distcnn.simulate.spectrum.instrument import Exposure, draw_exposure, expose
from distcnn.simulate.spectrum.synthesis import FINE_WAVELENGTH, native_matrices
from distcnn.survey import Store

DR4 = ReleaseGridConfig(start=846.0, step=0.025, size=961)
"""As announced for DR4: 846 to 870 nm."""
GRID = ReleaseGrid.of(DR4)
STARS = 40
SUN_AND_GIANT = np.array([[5772.0, 4.438, 0.0, 0.0, 0.0], [4700.0, 2.4, -0.3, 0.1, -0.3]])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive of DR4, from the text of a configuration alone."""
    folder = tmp_path_factory.mktemp("dr4")
    conf = folder / "dr4.yaml"
    conf.write_text(
        "simulate:\n"
        "  release: DR4\n"
        "  grid: {start: 846.0, step: 0.025, size: 961}\n"
        "  minimum_snr: 5.0\n"
        "  stars_per_file: 20\n"
        "  trouble: {nan_pixels: 0.3, cosmic: 0.3}\n"
    )
    config = load_config(conf).simulate
    write_archive(folder / "archive", STARS, 3, config, executor=SerialExecutor())
    return folder / "archive"


def test_the_grids_of_two_releases_have_their_wavelengths() -> None:
    assert DR3_GRID.wavelength.shape == (2401,)
    assert GRID.wavelength.shape == (961,)
    for grid in (DR3_GRID, GRID):
        assert grid.wavelength[0] == 846.0
        assert grid.wavelength[-1] == pytest.approx(870.0, abs=1e-9)
        assert grid.stop == grid.wavelength[-1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": 840.0},
        {"size": 2500},
        {"step": 0.05},
        {"start": 850.0},
        {"step": 0.0},
        {"size": 100},
    ],
)
def test_a_grid_that_cannot_be_simulated_is_refused(wrong: dict[str, float]) -> None:
    problem = r"within 846 and 870|at least 5 nm wide|greater than or equal"
    with pytest.raises(ValidationError, match=problem):
        ReleaseGridConfig(**wrong)


def test_the_files_hold_spectra_of_that_grid_under_the_releases_name(archive: Path) -> None:
    rvs = table(archive, "RvsMeanSpectrum").drop_duplicates("source_id").set_index("source_id")
    flux, error = arrays(rvs.flux), arrays(rvs.flux_error)
    assert flux.shape == error.shape == (STARS, 961)
    assert table(archive, "GaiaSource").designation.str.startswith("Gaia DR4 ").all()
    assert (np.isfinite(flux).sum(axis=1) > 700).all()
    known = truth(archive).loc[rvs.index]
    clean = (known.trouble == "") & (known.teff < 6500)
    near = np.abs(GRID.wavelength - 854.444) < 0.1
    continuum = np.nanmedian(flux[clean], axis=1)
    assert (np.nanmin(flux[clean][:, near], axis=1) < 0.75 * continuum).all()


def test_the_archive_becomes_a_survey_by_configuration_alone(archive: Path, tmp_path: Path) -> None:
    config = IngestConfig(
        survey="simulated_rvs",
        release="DR4",
        grid={"start": 846.0, "step": 0.025, "size": 961},
        prepare={"noise_correlation": 1.3},
        store={"chunk_stars": 20, "shard_stars": 40},
    )
    done = build_survey(archive, tmp_path / "s.zarr", config, executor=SerialExecutor())
    assert done.stars == STARS
    store = Store.open(tmp_path / "s.zarr")
    assert store.attrs["release"] == "DR4"
    flux = store.read(next(iter(store.regions())), ("flux",))["flux"]
    assert flux.shape == (STARS, 961)


def test_samples_that_two_grids_share_have_the_same_flux() -> None:
    fine, coarse = noiseless(SUN_AND_GIANT), noiseless(SUN_AND_GIANT, grid=GRID)
    np.testing.assert_allclose(coarse[:, ::2], fine[:, ::5], atol=1e-9)


def test_what_can_be_known_of_a_star_does_not_depend_on_the_sampling() -> None:
    full = [np.full(2, value) for value in (20.0, 12.0, 300.0, 0.05, 4.0)]
    stars = StarTruth(SUN_AND_GIANT, *full)
    bounds = [
        cramer_rao_bound(stars, SimulateConfig(grid=grid)) for grid in (ReleaseGridConfig(), DR4)
    ]
    np.testing.assert_array_equal(*bounds)


def test_detector_pixels_cover_any_grid() -> None:
    part = ReleaseGrid(850.0, 0.013, 700)
    for grid in (GRID, part):
        to_native, to_archive = native_matrices("float64", grid)
        np.testing.assert_allclose(
            to_archive @ (to_native @ FINE_WAVELENGTH), grid.wavelength, atol=1e-9
        )


def test_noise_on_a_coarse_grid_is_as_large_and_nearly_uncorrelated(
    rng: np.random.Generator,
) -> None:
    stars = 150
    full = [np.full(stars, value) for value in (40.0, 11.0, 20, 0.3)]
    flat = np.ones((stars, FINE_WAVELENGTH.size), np.float32)
    flux, error = expose(rng, flat, Exposure(*full), GRID)
    noise = flux - 1
    variance = (noise**2).mean()
    correlation = [(noise[:, :-k] * noise[:, k:]).mean() / variance for k in (1, 2)]
    # The cubic B-spline at 0.025 / 0.02453 pixels over that at none.
    assert correlation == pytest.approx([0.235, 0.0], abs=0.02)
    assert np.sqrt(variance) == pytest.approx(np.median(error), rel=0.03)
    relative = error / error.mean(axis=1, keepdims=True) - 1
    assert relative.std() == pytest.approx(1 / np.sqrt(2 * (3 * 20 - 1)), rel=0.05)
    assert abs((relative[:, :-1] * relative[:, 1:]).mean()) < 0.02 * relative.var()


def test_a_release_without_a_cut_has_as_many_good_spectra_as_dr4_is_expected_to(
    archive: Path, rng: np.random.Generator
) -> None:
    snr = draw_exposure(rng, 50_000, 0.45).snr
    assert np.mean(snr > 15) == pytest.approx(0.06, abs=0.005)
    assert np.mean(snr > 5) == pytest.approx(0.16, abs=0.02)
    known = truth(archive).snr
    assert 5 <= known.min() < known.median() < 15


def test_errors_share_with_their_neighbours_what_their_distance_leaves() -> None:
    assert DR3_GRID.error_weights() == [0.5]
    assert GRID.error_weights() == []
    assert ReleaseGrid(846.0, 0.005, 100).error_weights() == pytest.approx([0.75, 0.5, 0.25])


def test_the_record_of_a_dr3_archive_is_that_of_before_grids_were_settings(
    archive: Path, tmp_path: Path
) -> None:
    write_archive(tmp_path / "a", 5, 1, SimulateConfig(), executor=SerialExecutor())
    old = json.loads((tmp_path / "a" / "simulation.json").read_text())
    new = json.loads((archive / "simulation.json").read_text())
    assert {"release", "grid", "minimum_snr"}.isdisjoint(old["config"])
    assert new["config"]["grid"] == {"start": 846.0, "step": 0.025, "size": 961}
    assert new["config"]["release"] == "DR4"
    with gzip.open(next((tmp_path / "a").glob("GaiaSource_*")), "rt") as stream:
        assert "Gaia DR3 " in stream.read()


def test_the_demonstration_of_dr4_reads_the_grid_that_it_simulates() -> None:
    config = load_config(Path("demo_dr4"))
    simulated, read = config.simulate.grid, config.ingest.grid
    assert simulated == DR4
    assert (read.start, read.step, read.size) == (simulated.start, simulated.step, simulated.size)
    assert (read.unit, read.medium, read.frame) == ("nm", "vacuum", "stellar rest")
