import importlib
import subprocess
import sys

import pytest

import distcnn


def test_every_name_of_the_face_can_be_had_and_none_hides_a_room():
    for name in distcnn.__all__:
        assert getattr(distcnn, name) is not None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"distcnn.{name}")


def test_the_face_is_small():
    assert len(distcnn.__all__) <= 18
    assert set(dir(distcnn)) == set(distcnn.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'guess'"):
        _ = distcnn.guess


@pytest.mark.parametrize("module", ["distcnn", "distcnn.cli", "distcnn.errors", "distcnn.schema"])
def test_light_modules_load_nothing_heavy(module):
    heavy = "{'torch', 'distributed', 'dask', 'zarr', 'pandas', 'astropy', 'matplotlib'}"
    code = f"import sys, {module}; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert found.returncode == 0, found.stderr.decode()
