"""What a member leaves for ledgers and packages, whose keys files of before have as well."""

import json
from dataclasses import replace

from distcnn.training.data.loader import Sharding
from distcnn.training.loop.member import MemberResult
from distcnn.training.loop.precision import Arithmetic

ARITHMETIC = Arithmetic("cpu", "float32", "this cpu has no matrix units for bfloat16")
RESULT = MemberResult("ab12", 7, 1, -0.5, [(0.1, -0.25), (0.0, -0.5)], ARITHMETIC)


def through_json(result):
    return MemberResult.from_json(json.loads(json.dumps(result.to_json())))


def test_a_result_comes_back_from_the_ledger_as_it_was():
    assert through_json(RESULT) == RESULT
    graphed = Arithmetic("H100", "bfloat16", "within 1e-3", False, "only a GPU records steps")
    assert through_json(replace(RESULT, arithmetic=graphed)).arithmetic == graphed


def test_ledgers_and_manifests_keep_their_keys():
    line = RESULT.to_json()
    assert list(line) == ["digest", "seed", "best", "validation", "epochs", "arithmetic"]
    assert list(line["arithmetic"]) == ["device", "precision", "precision_why"]
    graphed = replace(ARITHMETIC, graphed=True).to_json()
    assert list(graphed)[3:] == ["recorded", "recorded_why"]
    assert Sharding(4, 50).to_json() == {"lanes": 4, "buffer": 50}
    assert Sharding.from_json({"lanes": 4, "buffer": 50}) == Sharding(4, 50)


def test_a_line_of_before_arithmetic_was_noted_is_read():
    bare = replace(RESULT, arithmetic=None)
    assert "arithmetic" not in bare.to_json()
    assert through_json(bare) == bare
