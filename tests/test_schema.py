"""The tables of bits and reasons: every row is whole, and bits can be combined as before."""

import pickle

import pytest

from distcnn.schema import Flag, MaskBit, Reason


@pytest.mark.parametrize("table", [Flag, MaskBit, Reason])
def test_every_row_has_a_sentence_of_its_own(table):
    sentences = [row.sentence for row in table]
    assert all(len(sentence) > 10 for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize(("table", "bits"), [(Flag, 15), (MaskBit, 4)])
def test_bits_are_the_powers_of_two_in_their_order(table, bits):
    assert [int(row) for row in table] == [1 << number for number in range(bits)]


def test_bits_combine_and_travel():
    both = Flag.NO_XP | Flag.NO_PARALLAX
    assert both == Flag(80)
    assert Flag.NO_XP in both
    assert list(both) == [Flag.NO_XP, Flag.NO_PARALLAX]
    assert pickle.loads(pickle.dumps(both)) == both
    assert pickle.loads(pickle.dumps(Flag.NO_PARALLAX)).sentence == "no parallax"
    sentence = "no XP coefficients, or a quarter of them are missing (BP or RP): none is used"
    assert pickle.loads(pickle.dumps(Flag.NO_XP)).sentence == sentence
    assert not Flag(0)


def test_a_reason_is_the_text_that_stores_hold():
    assert Reason("malformed_row") is Reason.MALFORMED
    assert str(Reason.MALFORMED) == "malformed_row"
    assert pickle.loads(pickle.dumps(Reason.MALFORMED)) is Reason.MALFORMED
