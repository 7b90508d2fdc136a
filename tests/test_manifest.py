"""The manifest of packages: every version's can be read, and none is changed by reading it."""

import hashlib
import json

import pytest

from distcnn.errors import PackageError
from distcnn.manifest import Manifest, read_manifest
from distcnn.schema import PACKAGE_FORMAT

TODAY = {
    "format": 2,
    "kind": "package",
    "distcnn_version": "0.1.0",
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "spec": {
        **{"pixels": 800, "coefficients": 110, "bands": ["g", "bp"], "astrometry": True},
        **{"wavelength_digest": "5d", "labels": ["teff", "mh"]},
    },
    "network": {"preset": "hybrid", "width": 16, "hidden": 128, "dropout": 0.1},
    "labels": [{"name": "teff", "unit": "K"}, {"name": "mh", "unit": "dex"}],
    "label_sigma": [42.5, 0.055],
    "scaling": {
        **{"digest": "1b", "label_logarithm": [True, False]},
        **{"label_centre": [8.56, -0.3], "label_scale": [0.13, 0.4]},
    },
    "members": [
        {"member": 1, "digest": "89", "seed": 2**63 + 5, "best": 25, "validation": -1.58},
    ],
    "survey": {"survey": "rvs", "release": "dr3", "inputs": "4f"},
    "split": {
        **{"train": 0.6, "validation": 0.1, "calibration": 0.2, "seed": 4, "rotate": 0.0},
        **{"groups": None, "stars": {"train": 60, "test": 10}, "source_id": {"train": "18"}},
        "data": "8d",
    },
    "train": {"members": 8, "split": {"train": 0.6, "validation": 0.1, "calibration": 0.2}},
    "quality": {"novelty_components": 32},
    "bands": ["g", "bp"],
    "coverage": [{"label": "teff", "snr": "all", "stars": 3286, "within_68": 0.67}],
    "attenuation": [{"label": "teff", "snr": "all", "stars": 3286, "slope": float("nan")}],
    "ensemble_size": [{"members": 1, "label": "teff", "snr": "all", "std": 64.3}],
    "fingerprint": {"data": "8d", "split": {"train": 0.6, "groups": "aa"}},
    "files": {"curves.json": "2a", "members/member_00.safetensors": "89"},
}
STUDENT = TODAY | {
    "distilled": {
        **{"teacher": "fa", "members": 28, "network": {"preset": "hybrid"}, "stars": 9000},
        **{"survey": "c5", "settings": {"epochs": 60}},
    }
}


def test_every_section_is_read():
    manifest = Manifest.from_json(STUDENT)
    assert manifest.label_names == ("teff", "mh")
    assert manifest.members[0].seed == 2**63 + 5
    assert manifest.split.fractions["test"] == pytest.approx(0.1)
    assert manifest.training_split.calibration == 0.2
    assert manifest.groups_digest == "aa"
    assert manifest.distilled.members == 28
    assert manifest.coverage[0]["stars"] == 3286


@pytest.mark.parametrize("document", [TODAY, STUDENT, {"format": 1, "note": {"a": [1, 2.5]}}])
def test_reading_a_manifest_keeps_every_byte(document):
    data = (json.dumps(document, indent=1) + "\n").encode()
    again = Manifest.from_bytes(data).to_json()
    assert (json.dumps(again, indent=1) + "\n").encode() == data


@pytest.mark.parametrize("missing", list(STUDENT))
def test_a_manifest_without_any_one_section_is_read(missing):
    document = {key: value for key, value in STUDENT.items() if key != missing}
    assert Manifest.from_json(document).to_json() == document


def test_labels_may_be_names_alone():
    assert Manifest.from_json({"labels": ["teff"]}).label_names == ("teff",)


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"split": {"stars": {"train": "many"}}}, r"split\.stars\.train: "),
        ({"label_sigma": [1.0, "wide"]}, r"label_sigma\.1: "),
        ({"files": ["curves.json"]}, "files: "),
    ],
)
def test_a_section_that_is_something_else_is_named(document, where):
    with pytest.raises(ValueError, match=where):
        Manifest.from_json(document)


def test_a_file_that_is_no_object_is_refused():
    with pytest.raises(ValueError, match="no JSON object"):
        Manifest.from_bytes(b"[1]")


def test_a_manifest_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Manifest.from_json(TODAY).format = 3


def test_the_digest_is_that_of_the_file(tmp_path):
    data = json.dumps(TODAY | {"format": PACKAGE_FORMAT}).encode()
    (tmp_path / "manifest.json").write_bytes(data)
    assert read_manifest(tmp_path).digest == hashlib.sha256(data).hexdigest()


def test_a_package_that_does_not_say_its_split_is_refused_where_that_is_asked():
    held = {name: part for name, part in TODAY.items() if name != "train"}
    with pytest.raises(PackageError, match="does not say which stars it was trained on"):
        _ = Manifest.from_json(held).training_split


def test_a_folder_without_manifest_and_another_format_are_refused(tmp_path):
    with pytest.raises(PackageError, match="is not a package"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(
        PackageError, match=r"has format 1: expected format 2, 3, 4, 5, 6, 7 or 8.*train"
    ):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 9}')
    with pytest.raises(PackageError, match=r"has format 9.*update distcnn"):
        read_manifest(tmp_path)
