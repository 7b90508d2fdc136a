"""The doctor tells what a machine has, and finds a disk that cannot hold a store."""

from distcnn import __version__
from distcnn.monitor import examine


def test_a_fit_machine_is_described(tmp_path):
    text = examine(tmp_path)
    for known in (f"distcnn {__version__}", "torch", "zarr", "cores", "memory"):
        assert known in text
    assert "MISSING" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr("distcnn.monitor.doctor.PACKAGES", ("no_such_package",))
    assert "MISSING: pip install" in examine(tmp_path)
