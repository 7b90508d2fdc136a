import hashlib
import json

import numpy as np
import pytest
from evaluation.package_rows import attenuation_rows, coverage_rows, size_rows
from safetensors.numpy import save

from distcnn.errors import InputError
from distcnn.report.text.inspect import describe
from distcnn.report.text.table import sparkline

MANIFEST = {
    "distcnn_version": "0.1.0",
    "versions": {"torch": "2.13.0"},
    "labels": [{"name": "teff", "unit": "K"}, {"name": "mh", "unit": "dex"}],
    "label_sigma": [55.0, 0.05],
    "network": {"preset": "hybrid", "width": 32, "hidden": 128, "dropout": 0.2, "flux": "linear"},
    "spec": {"pixels": 800, "coefficients": 110, "bands": ["g", "bp"], "astrometry": True},
    "survey": {"survey": "simulated", "release": "one", "inputs": "abc123"},
    "fingerprint": {"data": "def456"},
    "split": {
        **{"train": 0.6, "validation": 0.1, "calibration": 0.2, "seed": 3, "rotate": 0.0},
        "stars": {"train": 6000, "validation": 1000, "calibration": 2000, "test": 1000},
        "source_id": {"train": "11" * 32, "test": "44" * 32},
    },
    "members": [
        {"member": 0, "seed": 12345, "best": 2, "validation": -1.25},
        {"member": 3, "seed": 67890, "best": 1, "validation": -1.5},
    ],
    "coverage": coverage_rows(),
    "ensemble_size": size_rows(),
    "attenuation": attenuation_rows(),
    "train": {"members": 4, "keep": 0.5, "labels": None, "augment": {"noise": 0.7}},
}
CURVES = [
    {"member": 0, "epochs": [[0.5, 0.4], [0.1, 0.2], [-1.0, -1.25], [-1.1, -1.2]]},
    {"member": 3, "epochs": [[0.5, 0.4], [-1.0, -1.5]]},
]
EVALUATION = {
    "stars": 1000,
    "results": [
        {"label": label, "snr": snr, "stars": 500, "bias": 0.5, "std": 61.25, "mad": 60.0}
        for label in ("teff", "mh")
        for snr in ("all", "15-25")
    ],
}


def make_package(path, manifest=MANIFEST):
    quality = {
        "limits.label": np.array([[3900.0, 7400.0], [-2.1, 0.5]]),
        "limits.magnitude": np.array([6.0, 14.0]),
        "limits.parallax": np.full(2, np.nan),
        "calibration.snr_range": np.array([15.0, 500.0]),
    }
    files = {
        "members/member_00.safetensors": b"one",
        "members/member_01.safetensors": b"two",
        "quality.safetensors": save(quality),
        "curves.json": json.dumps(CURVES).encode(),
    }
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    named = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    (path / "manifest.json").write_text(json.dumps(manifest | {"files": named}))
    (path / "evaluation.json").write_text(json.dumps(EVALUATION))
    return path


def lines_of(text, start):
    return [line for line in text.splitlines() if line.strip().startswith(start)]


def test_a_package_tells_what_it_is_and_from_what(tmp_path):
    text = describe(make_package(tmp_path / "package"))
    assert "a package of 2 members for teff, mh" in text
    assert "complete      yes, 4 files" in text
    digest = hashlib.sha256((tmp_path / "package" / "manifest.json").read_bytes()).hexdigest()
    assert digest in text
    assert "hybrid, width 32, hidden 128, dropout 0.2" in text
    assert "sees spectrum of 800 pixels (linear flux), 110 XP coefficients, g bp, parallax" in text
    for found in ("simulated", "abc123", "def456", "seed 3", "distcnn 0.1.0, torch 2.13.0"):
        assert found in text
    (train,), (test,) = lines_of(text, "train "), lines_of(text, "test   ")
    assert train.split()[1:4] == ["0.6", "6,000", "1111111111111111"]
    assert test.split()[1:3] == ["0.1", "1,000"]


def test_a_package_tells_how_far_it_may_be_believed(tmp_path):
    text = describe(make_package(tmp_path / "package"))
    assert lines_of(text, "teff [K]")[0].split()[2:] == ["3900.0", "7400.0", "55.0"]
    assert "reference magnitude: 6 to 14 mag" in text
    assert "parallax:" not in text
    assert "S/N that was calibrated: 15 to 500" in text
    assert "68.3 / 95.0" in text
    assert "no XP" in text
    assert "66.3 / 95.0" in text
    assert "0.975 / 1.002" in text
    assert "78.0 / 68.3" in text
    assert lines_of(text, "label")[-1].split() == ["label", "bias", "all", "15-25"]


STACKING = {
    "methods": ["ensemble", "ridge", "trees"],
    "stars": 1800,
    "knots": [1.2, 2.0],
    "weights": [[[0.1, 0.7], [0.6, 0.3], [0.3, 0.0]], [[0.25, 0.8], [0.75, 0.2], [0.0, 0.0]]],
    "labels": [
        {name: {"std": std} for name, std in row.items()}
        for row in (
            {"ensemble": 0.2, "ridge": 0.15, "trees": 0.4, "stacked": 0.14},
            {"ensemble": 0.5, "ridge": 0.6, "trees": 0.7, "stacked": 0.45},
        )
    ],
}
SCALING = {
    "digest": "",
    "label_logarithm": [True, False],
    "label_centre": [np.log(5000.0), -0.3],
    "label_scale": [0.1, 0.2],
}


def test_a_package_tells_how_its_label_is_stacked_and_what_that_gained(tmp_path):
    more = {"stacking": STACKING, "scaling": SCALING}
    text = describe(make_package(tmp_path / "package", MANIFEST | more))
    assert "ridge, trees: fitted to 1,800 stars" in text
    assert "at S/N 16 / 100" in text
    weights, scatter = lines_of(text[text.index("(stacking)") :], "teff [K]")[:2]
    assert weights.split()[2:] == ["10", "/", "25", "60", "/", "75", "30", "/", "0"]
    assert scatter.split()[2:] == ["100.0", "75.0", "200.0", "70.0", "30", "%"]
    assert "(stacking)" not in describe(make_package(tmp_path / "plain"))


def test_every_member_has_its_curve_in_a_line(tmp_path):
    text = describe(make_package(tmp_path / "package"))
    assert lines_of(text, "0  12345")[0].split()[1:] == ["12345", "3", "of", "4", "-1.2500", "██▁▁"]
    assert lines_of(text, "3  67890")[0].split()[2:5] == ["2", "of", "2"]


def test_a_changed_file_is_named(tmp_path):
    path = make_package(tmp_path / "package")
    (path / "members" / "member_01.safetensors").write_bytes(b"other")
    assert "no, changed: members/member_01.safetensors" in describe(path)


@pytest.mark.parametrize("missing", list(MANIFEST))
def test_a_package_without_any_one_part_is_described(tmp_path, missing):
    manifest = {key: value for key, value in MANIFEST.items() if key != missing}
    assert "a package of 2 members" in describe(make_package(tmp_path / "package", manifest))


def test_an_older_coverage_table_has_no_cells(tmp_path):
    rows = [
        {key: value for key, value in row.items() if key != "cell"}
        for row in coverage_rows(cells=("all",))
    ]
    text = describe(make_package(tmp_path / "package", MANIFEST | {"coverage": rows}))
    assert "68.3 / 95.0" in text
    assert "no XP" not in text


def test_damaged_curves_are_a_clear_error(tmp_path):
    path = make_package(tmp_path / "package")
    (path / "curves.json").write_text("[")
    with pytest.raises(InputError, match=r"curves\.json is not readable"):
        describe(path)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([float("nan")], ""),
        ([1.0], "▁"),
        ([8, 7, 6, 5, 4, 3, 2, 1], "██▇▆▅▃▂▁"),
        ([1e9, 1, 0, float("nan")], "██▁?"),
    ],
)
def test_curves_become_little_bars(values, line):
    assert sparkline(values) == line


def test_long_curves_are_thinned():
    assert len(sparkline(list(range(1000)))) == 40
