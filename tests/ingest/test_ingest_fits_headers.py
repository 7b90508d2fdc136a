"""The walk through a regular file's headers finds what astropy finds, and leaves it the others."""

import io

import numpy as np
import pytest
from astropy.io import fits

from distcnn.ingest.readers.formats.fits import headers
from distcnn.ingest.readers.formats.fits.headers import (
    FitsHdu,
    cards_of,
    open_hdus,
    place_of,
)


def cards_of_many_kinds(header: fits.Header) -> None:
    header["OBJECT"] = ("it's", "a quote")
    header["LONG"] = "x" * 200  # CONTINUE
    header["HIERARCH ESO DET WIN1 NX"] = 2048
    header["FLAG"], header["EMPTY"], header["REAL"] = True, None, -1.5e-300
    header["COMPLEX"] = 1 + 2j
    header.add_comment("first")
    header.add_comment("second")
    header.add_history("made")
    header.add_blank("between")


def table(kind: type = fits.BinTableHDU) -> fits.BinTableHDU:
    columns = [fits.Column("ID", "I6" if kind is fits.TableHDU else "K", array=[1, 2, 3])]
    if kind is fits.BinTableHDU:
        arrays = np.array([np.arange(n, dtype="f4") for n in (2, 0, 5)], object)
        columns.append(fits.Column("ARRAY", "PE()", array=arrays))
    return kind.from_columns(columns, name="Coadd")


def content(*hdus: fits.hdu.base.ExtensionHDU) -> bytes:
    primary = fits.PrimaryHDU()
    cards_of_many_kinds(primary.header)
    stream = io.BytesIO()
    fits.HDUList([primary, *hdus]).writeto(stream)
    return stream.getvalue()


def images() -> list[fits.ImageHDU]:
    named = fits.ImageHDU(np.zeros((2, 3), "i2"), name="FLUX")
    cards_of_many_kinds(named.header)
    return [named, fits.ImageHDU(), fits.ImageHDU(np.zeros((0, 4)))]


REGULAR = {
    "no extension": content(),
    "images": content(*images()),
    "tables": content(table(), table(fits.TableHDU)),
    "both": content(*images(), table()),
}
WHOLE = REGULAR["both"]
WITHOUT_PADDING = WHOLE.rstrip(b"\0")
TWICE = WHOLE.replace(b"EMPTY   =", b"EXTNAME =", 2)
IRREGULAR = {
    "packed in tiles": content(fits.CompImageHDU(np.arange(12.0, dtype="f4").reshape(3, 4))),
    "no padding": WITHOUT_PADDING,
    "cut off": WHOLE[:-2880],
    "something behind": WHOLE + b"more",
    "a keyword twice": TWICE,
    "no text": WHOLE.replace(b"COADD", b"CO\xe4DD"),
}  # fmt: skip


def as_astropy_has_it(given: bytes) -> list[FitsHdu]:
    return [headers._of_astropy(hdu) for hdu in fits.open(io.BytesIO(given))]


@pytest.mark.parametrize("given", REGULAR.values(), ids=REGULAR)
def test_a_regular_file_is_walked_and_gives_what_astropy_gives(given):
    found, damaged = open_hdus(io.BytesIO(given))
    expected = as_astropy_has_it(given)
    assert not damaged
    assert [hdu.astropy for hdu in found] == [None] * len(expected)
    for one, other in zip(found, expected, strict=True):
        of_table = one.is_table  # astropy has no shape of one
        assert (one.kind, one.name, one.data_start) == (other.kind, other.name, other.data_start)
        assert one.shape == (() if of_table else other.shape)
        assert one.cards == other.cards
        assert list(one.cards) == list(other.cards)


@pytest.mark.parametrize("given", IRREGULAR.values(), ids=IRREGULAR)
@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
def test_an_irregular_file_is_left_to_astropy(given):
    found, _ = open_hdus(io.BytesIO(given))
    assert all(hdu.astropy is not None for hdu in found)


def test_headers_that_were_met_before_are_those_of_their_own_file():
    first, second = content(table()), content(table()).replace(b"it''s", b"its  ")
    assert first != second
    names = [open_hdus(io.BytesIO(one))[0][0].cards["OBJECT"] for one in (first, second, first)]
    assert names == ["it's", "its", "it's"]


def test_cards_that_are_not_understood_are_left_out_either_way():
    given = REGULAR["images"].replace(b"REAL    =      ", b"REAL    = 1,5 /")
    header = fits.open(io.BytesIO(given))[0].header
    found = open_hdus(io.BytesIO(given))[0][0].cards
    assert found == cards_of(header)


def test_an_hdu_is_found_by_number_or_by_name_in_any_case():
    found, _ = open_hdus(io.BytesIO(WHOLE))
    assert [place_of(found, one) for one in ("coadd", "PRIMARY", 1, "1", "-1", 9, "NONE")] == [
        4, 0, 1, 1, None, None, None,
    ]  # fmt: skip
