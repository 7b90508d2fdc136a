"""Checks that every science check passes.

    class TestMine(ScienceChecks):
        check = CHECKS[0]

The fixtures ``good`` and ``bad`` give data in which the answer is yes and no.
"""

import json

import pytest

from distcnn.checks import Check, CheckData, Verdict
from distcnn.config import ReportConfig
from distcnn.evaluation import EvaluationData, evaluate


class ScienceChecks:
    """A check tells good predictions from bad ones, and says when it cannot."""

    check: Check

    @pytest.fixture
    def nothing(self, products):
        """Predictions of which nothing else is known."""
        alone = EvaluationData(products.data.predictions)
        return CheckData(alone, *evaluate(alone, ReportConfig()), ReportConfig())

    def test_good_predictions_pass(self, good):
        assert self.check.answer(good).verdict is Verdict.PASSED

    def test_bad_predictions_fail_and_the_sentence_names_a_label(self, bad):
        answer = self.check.answer(bad)
        assert answer.verdict is Verdict.FAILED
        assert any(name in answer.sentence for name in bad.numbers.labels)

    def test_what_cannot_be_answered_is_undecided_and_says_what_is_missing(self, nothing):
        answer = self.check.answer(nothing)
        assert answer.verdict is Verdict.UNDECIDED
        assert answer.sentence.startswith("no ")

    def test_its_numbers_make_a_table_of_json_values(self, good, bad):
        for data in (good, bad):
            rows = self.check.answer(data).rows
            assert rows
            assert {tuple(row) for row in rows} == {tuple(rows[0])}
            json.dumps(rows, allow_nan=False)

    def test_the_name_and_the_question_are_for_people(self):
        assert self.check.name == self.check.name.lower().replace(" ", "-")
        assert self.check.question.endswith("?")
