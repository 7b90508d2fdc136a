"""Data at rest: regions, stores, ledgers. The only package that knows Zarr."""

from distcnn.files import bytes_below, files_below
from distcnn.survey.conditions import (
    CONDITIONS,
    KEPT_FRAME,
    SNR_INTERVAL,
    not_at_rest,
    snr_sentence,
    spectra_conditions,
)
from distcnn.survey.create import create_store
from distcnn.survey.layout import Coordinate, Layout, Quantised, float_dtype, to_float32
from distcnn.survey.ledger import Ledger, check_fingerprint
from distcnn.survey.ledger.elements import (
    LEDGER,
    ElementProgress,
    array_progress,
    begin_element,
    merge_elements,
    stored_regions,
)
from distcnn.survey.region_result import RegionResult
from distcnn.survey.regions import Region, Share, Tiles, tile
from distcnn.survey.rows import SPECTRUM_KEY, STAR_KEY, RowKey
from distcnn.survey.store import Store

__all__ = [
    "CONDITIONS",
    "KEPT_FRAME",
    "LEDGER",
    "SNR_INTERVAL",
    "SPECTRUM_KEY",
    "STAR_KEY",
    "Coordinate",
    "ElementProgress",
    "Layout",
    "Ledger",
    "Quantised",
    "Region",
    "RegionResult",
    "RowKey",
    "Share",
    "Store",
    "Tiles",
    "array_progress",
    "begin_element",
    "bytes_below",
    "check_fingerprint",
    "create_store",
    "files_below",
    "float_dtype",
    "merge_elements",
    "not_at_rest",
    "snr_sentence",
    "spectra_conditions",
    "stored_regions",
    "tile",
    "to_float32",
]
