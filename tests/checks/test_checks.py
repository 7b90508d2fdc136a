from dataclasses import replace

import pytest
from conformance.science_checks import ScienceChecks

from distcnn.checks import CHECKS, CheckData, choose_checks, run_checks
from distcnn.config import ReportConfig
from distcnn.errors import UsageError
from distcnn.evaluation import BaselineLabels, evaluate
from distcnn.evaluation.metrics import coverage
from distcnn.events import StageEnded

CONFIG = ReportConfig()


def asked(products, **changes):
    data = replace(products.data, **changes)
    return CheckData(data, *evaluate(data, CONFIG), CONFIG)


class TestQuotedErrors(ScienceChecks):
    check = CHECKS[0]

    @pytest.fixture
    def good(self, products):
        return asked(products)

    @pytest.fixture
    def bad(self, good):
        sample = replace(good.sample, label_error=good.sample.label_error / 2)
        rows = coverage(sample, good.numbers.labels, CONFIG.snr_edges)
        return replace(good, sample=sample, numbers=replace(good.numbers, coverage=rows))


class TestNetworkGain(ScienceChecks):
    check = CHECKS[1]

    @pytest.fixture
    def good(self, products):
        return asked(products)

    @pytest.fixture
    def bad(self, products):
        label = products.truth + 3 * (products.label - products.truth)
        label[:, 0] = products.truth[:, 0]
        return asked(products, baselines={"oracle": BaselineLabels(products.ids, label)})

    def test_the_lost_label_and_no_other_is_named(self, bad):
        assert self.check.answer(bad).sentence == "a baseline is as good for teff"


def test_every_check_of_the_registry_has_its_conformance_test():
    tested = {checks.check for checks in ScienceChecks.__subclasses__()}
    assert tested == set(CHECKS)


def test_all_checks_share_one_evaluation_and_print_their_answers(products):
    events = []
    checked = run_checks(products.data, CONFIG, events.append)
    text = str(checked)
    assert checked.failed == 0
    assert "quoted-errors: passed. Do the quoted errors hold" in text
    assert "sigma_outside" in text
    ends = [event.stage for event in events if isinstance(event, StageEnded)]
    assert ends == ["evaluate", "check"]


def test_only_the_checks_that_are_named_are_run(products):
    assert "network-gain" not in str(run_checks(products.data, CONFIG, names=["quoted-errors"]))
    with pytest.raises(UsageError, match="Did you mean 'network-gain'"):
        choose_checks(["network-gains"])
