"""What the README shows in Python runs as it stands there, on fewer stars and epochs."""

import re
from pathlib import Path

import numpy as np

import distcnn

README = Path(__file__).parents[1] / "README.md"
ASKED = '["train.members=4"]'
SMALL = [
    "cluster.backend=serial",
    "train.members=1",
    "train.stacking.trees=10",
    "train.epochs=2",
    "quality.prior_ratio=10",  # two epochs teach little more than the population
    "ingest.store.chunk_stars=64",
    "ingest.store.shard_stars=128",
]


def test_the_lines_of_python_lead_from_files_to_unflagged_stars(tmp_path, monkeypatch):
    (shown,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert ASKED in shown
    config = distcnn.load_config("demo", ["cluster.backend=serial"])
    monkeypatch.chdir(tmp_path)
    distcnn.simulate_archive("ARCHIVE", 400, 3, config)
    names = {}
    exec(shown.replace(ASKED, repr(SMALL)), names)  # our own words, from the README
    assert names["stars"].sizes["star"] > 300
    assert 0 < names["good"].sizes["star"] <= names["stars"].sizes["star"]
    assert np.isfinite(names["good"].label.values).all()
