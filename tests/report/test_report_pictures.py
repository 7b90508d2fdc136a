"""The page stays small, whatever it shows; the files beside it keep everything."""

import base64
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from distcnn.report.blocks import PAGE_PIXELS, Picture
from distcnn.report.pictures import MAX_EMBEDDED_BYTES, MAX_SVG_BYTES, Drawn, fitting
from distcnn.style import style


def _png(size, rng):
    buffer = io.BytesIO()
    smooth = rng.integers(0, 255, (size // 8, size // 8, 3), dtype=np.uint8)
    Image.fromarray(smooth).resize((size, size), Image.Resampling.BICUBIC).save(buffer, "png")
    return buffer.getvalue()


def _drawn(key, forms):
    return Drawn("checks", Picture(key, key, key, key), {}, forms)


def _embedded(one):
    kind, text = one.picture.uri.split(";base64,")
    return kind, base64.b64decode(text)


def test_a_figure_is_embedded_as_lines_unless_these_are_many(rng):
    few, many = b"<svg/>", b"<svg>" + b" " * MAX_SVG_BYTES + b"</svg>"
    png = _png(64, rng)
    small, large = fitting(
        [_drawn("a", {"svg": few, "png": png}), _drawn("b", {"svg": many, "png": png})]
    )
    assert _embedded(small) == ("data:image/svg+xml", few)
    assert _embedded(large) == ("data:image/png", png)


def test_pictures_that_are_too_large_together_lose_colours_the_largest_first(rng):
    large, small = _png(1400, rng), _png(300, rng)
    count = MAX_EMBEDDED_BYTES // len(large) + 1
    drawn = [*(_drawn(f"l{n}", {"png": large}) for n in range(count)), _drawn("s", {"png": small})]
    shown = [_embedded(one)[1] for one in fitting(drawn)]
    assert sum(map(len, shown)) <= MAX_EMBEDDED_BYTES < count * len(large)
    assert shown[-1] == small
    reduced = min(shown[:-1], key=len)
    assert Image.open(io.BytesIO(reduced)).size == (1400, 1400)


@pytest.mark.parametrize(("inches", "wide"), [(4.0, 400), (10.8, PAGE_PIXELS), (20.0, PAGE_PIXELS)])
def test_letters_are_as_large_in_small_figures_as_in_wide_ones(inches, wide):
    from distcnn.report.pictures import _saved, _width

    with style():
        figure = Figure(figsize=(inches, 1))
        assert _width({"png": _saved(figure, "png")}) == pytest.approx(wide, abs=2)
