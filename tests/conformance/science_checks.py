"""Checks that every science check passes.

    class TestMine(ScienceChecks):
        name = "mine"

The fixtures ``good`` and ``bad`` give inputs for which the answer is yes and no: a sound package
and one that was spoiled on purpose. ``nothing`` gives inputs that cannot tell.
"""

import json
from typing import ClassVar

import pytest
from matplotlib.figure import Figure

from distcnn.checks import CHECKS, Answer, Check, Verdict
from distcnn.checks.columns import meaning
from distcnn.style import style


class ScienceChecks:
    """A check tells a good package from a bad one, and says when it cannot."""

    name: str
    few: ClassVar[bool] = False
    """Whether ``good`` has too few stars for a yes: then there must be no no."""
    answers: ClassVar[dict[str, Answer]]
    """Of this check, by the fixture that it was asked about; each is found once."""

    def __init_subclass__(cls, **given):
        super().__init_subclass__(**given)
        cls.answers = {}

    def answer(self, kind, inputs) -> Answer:
        """The answer to ``good`` or ``bad``."""
        if kind not in self.answers:
            self.answers[kind] = self.check.answer(inputs)
        return self.answers[kind]

    @property
    def check(self) -> Check:
        """Its row of the registry."""
        return next(check for check in CHECKS if check.name == self.name)

    @pytest.fixture
    def nothing(self, good):
        """Inputs that hold nothing of what the question needs."""
        return good

    def test_a_sound_package_passes(self, good):
        answer = self.answer("good", good)
        if self.few:
            assert answer.verdict is Verdict.UNDECIDED, answer.sentence
            assert "not decided" in answer.sentence
        else:
            assert answer.verdict is Verdict.PASSED, answer.sentence

    def test_a_spoiled_package_fails_and_the_sentence_names_a_label(self, bad):
        answer = self.answer("bad", bad)
        assert answer.verdict is Verdict.FAILED, answer.sentence
        assert any(name in answer.sentence for name in bad.labels)

    def test_what_cannot_be_answered_is_undecided_and_says_what_is_missing(self, nothing):
        answer = self.check.answer(nothing)
        assert answer.verdict is Verdict.UNDECIDED
        assert answer.sentence.startswith("no ")

    def test_its_numbers_make_a_table_of_json_values(self, good, bad):
        for kind, inputs in (("good", good), ("bad", bad)):
            rows = self.answer(kind, inputs).rows
            assert rows
            assert {tuple(row) for row in rows} == {tuple(rows[0])}
            json.dumps(list(rows), allow_nan=False)
            assert all(meaning(self.name, column) for column in rows[0])

    def test_its_figures_can_be_drawn(self, good):
        with style():
            for draw in self.answer("good", good).figures.values():
                figure = draw()
                assert isinstance(figure, Figure)
                figure.draw_without_rendering()

    def test_the_name_the_question_and_the_threshold_are_for_people(self):
        assert self.check.name == self.check.name.lower().replace(" ", "-")
        assert self.check.question.endswith("?")
        assert len(self.check.threshold) > 10
