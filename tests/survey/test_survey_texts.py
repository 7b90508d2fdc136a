import numpy as np

from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Coordinate, Layout, Store, create_store


def test_texts_of_a_coordinate_come_back_as_texts(tmp_path):
    layout = Layout(
        kind="survey",
        sizes={"star": 4, "band": 2},
        chunk_stars=4,
        shard_stars=4,
        variables=(SURVEY_VARIABLES["source_id"], SURVEY_VARIABLES["photometry"]),
        coordinates={"band": Coordinate("band", np.array(["g", "bp_long"]))},
        attrs={},
    )
    create_store(tmp_path / "survey.zarr", layout)
    names = Store.open(tmp_path / "survey.zarr").coordinate("band")
    assert names.dtype.kind == "U"
    assert names.tolist() == ["g", "bp_long"]
