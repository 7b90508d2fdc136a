import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from distcnn.baselines import LabelledStars
from distcnn.baselines.methods.spectral.cannon import Cannon
from distcnn.baselines.methods.spectral.ferre import Ferre, interpolation_weights
from distcnn.baselines.methods.spectral.gauguin import LocalLinear, gauss_newton_step
from distcnn.baselines.methods.spectral.matisse import Projection
from distcnn.baselines.methods.spectral.model_fit import curvature_inverse, least_squares
from distcnn.baselines.methods.spectral.payne import Payne
from distcnn.baselines.methods.spectral.spectra import LabelAxes, Spectra, complete_stars
from distcnn.model.quadratic_spectra import quadratic_terms

STARS, PIXELS, LABELS = 400, 40, 3


def quadratic_stars(rng, stars=STARS, noise=0.0):
    """Spectra that are exactly quadratic in labels of different units; the coefficients."""
    numbers = rng.standard_normal((stars, LABELS))
    terms = quadratic_terms(numbers)
    coefficients = 0.02 * rng.standard_normal((PIXELS, terms.shape[1]))
    coefficients[:, 0] += 1
    flux = terms @ coefficients.T
    flux += noise * rng.standard_normal(flux.shape)
    label = numbers * [500, 0.5, 0.2] + [5000, 3.0, -0.3]
    error = np.full(flux.shape, max(noise, 1e-4))
    return LabelledStars({"flux": flux, "flux_error": error}, label), coefficients


def spectra_of(stars):
    return Spectra.of(stars.inputs)


def test_the_cannon_finds_the_coefficients_of_a_quadratic_model(rng):
    stars, coefficients = quadratic_stars(rng)
    numbers = (stars.label - [5000, 3.0, -0.3]) / [500, 0.5, 0.2]
    model = Cannon.of(spectra_of(stars), numbers)
    assert model.coefficients == pytest.approx(coefficients, abs=1e-8)
    assert model.variance == pytest.approx(np.zeros(PIXELS))


def test_the_cannon_finds_the_labels_of_a_quadratic_model(rng):
    stars, _ = quadratic_stars(rng, 500)
    known = LabelledStars({k: v[:400] for k, v in stars.inputs.items()}, stars.label[:400])
    found = Cannon.fit(known, known).predict({k: v[400:] for k, v in stars.inputs.items()})
    residual = (found.label - stars.label[400:]) / [500, 0.5, 0.2]
    # Another solution of the quadratic equations may fit a star as well.
    assert np.quantile(np.abs(residual).max(axis=1), 0.95) < 1e-3


def test_the_scatter_of_a_pixel_is_found_apart_from_its_noise(rng):
    stars, _ = quadratic_stars(rng, 2000, noise=0.01)
    flux = stars.inputs["flux"] + 0.03 * rng.standard_normal((2000, 1)) * (np.arange(PIXELS) < 5)
    _, numbers, _ = complete_stars(stars)
    model = Cannon.of(Spectra.of({**stars.inputs, "flux": flux}), numbers)
    assert np.sqrt(model.variance[:5]) == pytest.approx(0.03, rel=0.2)
    assert (np.sqrt(model.variance[5:]) < 0.004).all()


def models(rng):
    stars, _ = quadratic_stars(rng)
    spectra, numbers, axes = complete_stars(stars)
    layers = [(0.3 * rng.standard_normal(s), rng.standard_normal(s[0])) for s in ((5, 3), (4, 5))]
    payne = Payne(tuple(layers), -np.ones(3), np.full(3, 2.0), np.zeros(4))
    return Cannon.of(spectra, numbers), Ferre.of(spectra, numbers, axes), payne


def test_jacobians_are_the_slopes_of_the_spectra(rng):
    labels, step = rng.uniform(-0.4, 0.4, (6, LABELS)), 1e-6
    for model in models(rng):
        found = model.jacobian(labels)
        for column in range(LABELS):
            shift = step * (np.arange(LABELS) == column)
            slope = (model.flux(labels + shift) - model.flux(labels - shift)) / (2 * step)
            assert found[:, :, column] == pytest.approx(slope, abs=1e-6)


def test_a_grid_of_quadratic_spectra_is_interpolated_exactly(rng):
    stars, _ = quadratic_stars(rng)
    spectra, numbers, axes = complete_stars(stars)
    grid, smooth = Ferre.of(spectra, numbers, axes), Cannon.of(spectra, numbers)
    inside = rng.uniform(axes.low, axes.high, (20, LABELS))
    assert grid.flux(inside) == pytest.approx(smooth.flux(inside), abs=1e-6)


@settings(max_examples=50)
@given(st.floats(-3, 4), st.integers(3, 9))
def test_weights_of_interpolation_sum_to_one_and_reproduce_a_parabola(value, count):
    nodes = np.linspace(-3, 4, count)
    first, weight, slope = interpolation_weights(np.array([value]), nodes)
    around = nodes[first[0] : first[0] + 3]
    assert weight.sum() == pytest.approx(1)
    assert weight[0] @ around**2 == pytest.approx(value**2, abs=1e-9)
    assert slope[0] @ around**2 == pytest.approx(2 * value, abs=1e-9)


def linear_model(rng, batch=5):
    jacobian = rng.standard_normal((PIXELS, LABELS))
    weight = rng.uniform(0.5, 2.0, (batch, PIXELS))

    class Linear:
        variance = np.zeros(PIXELS)

        def flux(self, labels):
            return labels @ jacobian.T

        def jacobian(self, labels):
            return np.broadcast_to(jacobian, (len(labels), PIXELS, LABELS))

    flux = rng.standard_normal((batch, PIXELS))
    root = np.sqrt(weight)
    wanted = [
        np.linalg.lstsq(root[n, :, None] * jacobian, root[n] * flux[n], rcond=None)[0]
        for n in range(batch)
    ]
    return Linear(), flux, weight, np.array(wanted)


def test_least_squares_of_a_linear_model_is_the_weighted_solution(rng):
    model, flux, weight, wanted = linear_model(rng)
    limits = np.full(LABELS, -100.0), np.full(LABELS, 100.0)
    found = least_squares(model, flux, weight, np.ones((5, LABELS)), limits)
    assert found == pytest.approx(wanted, abs=1e-5)


def test_labels_stay_within_their_limits(rng):
    model, flux, weight, _ = linear_model(rng)
    limits = np.zeros(LABELS), np.full(LABELS, 0.01)
    found = least_squares(model, flux, weight, np.full((5, LABELS), 0.005), limits)
    assert ((found >= 0) & (found <= 0.01)).all()


def test_a_step_in_the_manner_of_gauguin_is_the_analytic_solution(rng):
    model, flux, weight, wanted = linear_model(rng)
    start = rng.standard_normal((5, LABELS))
    step = gauss_newton_step(model.jacobian(start), flux - model.flux(start), weight)
    assert start + step == pytest.approx(wanted, abs=1e-6)


def test_slopes_of_local_linear_models_are_those_of_linear_spectra(rng):
    numbers = rng.standard_normal((STARS, LABELS))
    slopes = rng.standard_normal((PIXELS, LABELS))
    flux = 1 + numbers @ slopes.T
    model = LocalLinear.of(Spectra(flux, np.ones_like(flux)), numbers, seed=0)
    assert model.jacobian == pytest.approx(np.broadcast_to(slopes, model.jacobian.shape), abs=1e-6)
    nodes = np.arange(len(model.nodes))
    assert model.spectrum(model.nodes, nodes) == pytest.approx(1 + model.nodes @ slopes.T, abs=1e-6)


def test_projection_vectors_in_the_manner_of_matisse_are_those_of_ridge_regression(rng):
    numbers = rng.standard_normal((120, 2))
    flux = 1 + numbers @ rng.standard_normal((2, PIXELS)) + 0.3 * rng.standard_normal((120, PIXELS))
    spectra = Spectra(flux, np.full(flux.shape, 1 / 0.3**2))
    variances = np.array([0.01, 0.2])
    found = Projection.of(spectra, numbers, variances, factor=2.0)
    for group, variance in enumerate(variances):
        ridge = Ridge(alpha=120 * 2.0 * variance).fit(flux, numbers)
        assert found.vector[group] == pytest.approx(ridge.coef_.T, abs=1e-8)
        chosen = np.full(120, group)
        assert found.labels(spectra, chosen) == pytest.approx(ridge.predict(flux), abs=1e-8)


def test_the_covariance_of_fitted_labels_is_the_inverse_of_the_information(rng):
    jacobian = rng.standard_normal((1, PIXELS, LABELS))
    weight = np.full((1, PIXELS), 4.0)
    found = curvature_inverse(jacobian, weight, np.full(LABELS, 1e6))
    assert found[0] == pytest.approx(np.linalg.inv(4 * jacobian[0].T @ jacobian[0]))
    nothing = curvature_inverse(jacobian, 0 * weight, np.full(LABELS, 6.0))
    assert nothing[0] == pytest.approx(3.0 * np.eye(LABELS))


def test_labels_that_the_population_ties_together_are_one_number(rng):
    metals = rng.normal(-0.2, 0.3, 500)
    label = np.stack([metals, metals + 0.001 * rng.standard_normal(500), np.full(500, np.nan)], 1)
    axes = LabelAxes.fit(label)
    assert axes.matrix.shape == (1, 2)
    back = axes.labels(axes.numbers(label))
    assert back[:, :2] == pytest.approx(label[:, :2], abs=0.005)
    assert np.isnan(back[:, 2]).all()
    errors = axes.errors(np.full((4, 1, 1), 0.25))
    assert errors[:, :2] == pytest.approx(0.5 * 0.3, rel=0.1)


def test_numbers_of_labels_have_unit_variance_and_lead_back(rng):
    label = rng.standard_normal((300, 3)) @ rng.standard_normal((3, 3)) * [500, 1, 0.1]
    axes = LabelAxes.fit(label)
    numbers = axes.numbers(label)
    assert np.cov(numbers.T, bias=True) == pytest.approx(np.eye(3), abs=1e-9)
    assert axes.labels(numbers) == pytest.approx(label, rel=1e-4, abs=1e-3)


def test_spectra_without_errors_are_weighted_by_their_snr():
    flux = np.array([[1.0, 2.0, np.nan], [1.0, 1.0, 1.0]])
    found = Spectra.of({"flux": flux, "snr": np.array([10.0, np.nan])})
    assert found.weight[0] == pytest.approx([1 / 0.15**2, 1 / 0.15**2, 0])
    assert found.weight[1] == pytest.approx(100.0**2)
    assert found.flux[0, 2] == 0
