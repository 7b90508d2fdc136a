"""Lanes: every star once, whatever the ranks, and never more in memory than the window."""

from itertools import chain

import numpy as np
import pytest
import torch

from distcnn.training.data.loader import Feed, HeldLane, StreamedLane, derived_seed, lane_rows
from distcnn.training.data.tensors import Scaled


def stars_of(rows):
    """Stars that know their row."""
    column = torch.as_tensor(np.asarray(rows), dtype=torch.float32)[:, None]
    empty = torch.empty((len(rows), 0))
    return Scaled(empty, empty, empty, empty, column, column, torch.ones_like(column), column)


class Reader:
    """Gives stars at rows and remembers how many were asked for at once."""

    def __init__(self):
        self.asked = []

    def __call__(self, rows):
        assert (np.diff(rows) > 0).all()
        self.asked.append(len(rows))
        return stars_of(rows)


def rows_in(batches):
    return [batch.target[:, 0].int().tolist() for batch in batches]


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def streamed(rows, read, buffer=100):
    return StreamedLane(rows, read, piece=16, buffer=buffer)


ROWS = np.flatnonzero(np.arange(1000) % 3 > 0)


def test_lanes_share_the_stars_out_evenly():
    lanes = [lane_rows(ROWS, 7, lane) for lane in range(7)]
    np.testing.assert_array_equal(np.concatenate(lanes), ROWS)
    assert len({len(lane) for lane in lanes}) <= 2


@pytest.mark.parametrize("kind", ["held", "streamed"])
def test_every_epoch_sees_every_star_once_in_another_order(kind):
    lane = HeldLane(stars_of(ROWS)) if kind == "held" else streamed(ROWS, Reader())
    first = rows_in(lane.batches(generator(1), 11, 0))
    second = rows_in(lane.batches(generator(2), 11, 0))
    for epoch in (first, second):
        assert sorted(chain(*epoch)) == ROWS.tolist()
        assert {len(batch) for batch in epoch} <= {60, 61}
    assert first != second
    assert rows_in(lane.batches(generator(1), 11, 0)) == first


def test_a_streamed_lane_holds_no_more_than_its_window():
    read = Reader()
    rows_in(streamed(ROWS, read).batches(generator(), 11, 0))
    assert sum(read.asked) == len(ROWS)
    assert max(read.asked) <= 100


def test_a_streamed_lane_mixes_neighbours_within_the_window_only():
    (first, *_) = rows_in(streamed(ROWS, Reader()).batches(generator(), 11, 0))
    assert first != sorted(first)
    assert len({row // 16 for row in first}) > 5


@pytest.mark.parametrize("kind", ["held", "streamed"])
@pytest.mark.parametrize("first", [1, 5, 10])
def test_an_epoch_goes_on_in_the_middle(kind, first):
    read = Reader()
    lane = HeldLane(stars_of(ROWS)) if kind == "held" else streamed(ROWS, read)
    whole = rows_in(lane.batches(generator(), 11, 0))
    read.asked.clear()
    assert rows_in(lane.batches(generator(), 11, first)) == whole[first:]
    if kind == "streamed" and first == 10:
        assert sum(read.asked) < 200  # what lies before is not read


def test_a_lane_with_fewer_stars_than_steps_gives_empty_batches():
    lane = streamed(ROWS[:2], Reader())
    sizes = [len(batch) for batch in lane.batches(generator(), 4, 0)]
    assert sizes == [1, 1, 0, 0]


def feed(lanes, of, by_step_only=True):
    held = {lane: HeldLane(stars_of(lane_rows(ROWS, of, lane))) for lane in lanes}
    return Feed(held, of, len(ROWS), 64, torch.ones(1, 1))


def told(feed):
    return [
        {
            (tuple(rows_in([share.stars])[0]), share.seed, share.generator.initial_seed())
            for share in shares
        }
        for shares in feed.epoch(5, 2)
    ]


def test_what_a_step_sees_does_not_depend_on_who_has_which_lane():
    whole = told(feed(range(4), 4))
    parts = zip(told(feed([0, 3], 4)), told(feed([1, 2], 4)), strict=True)
    assert [one | other for one, other in parts] == whole
    assert len(whole) == feed(range(4), 4).steps == 11


def test_random_numbers_differ_between_lanes_and_steps():
    steps = told(feed(range(4), 4))
    seeds = [share[1] for step in steps for share in step]
    assert len(set(seeds)) == len(seeds) == 44


def test_one_lane_in_memory_draws_as_one_generator_does():
    plain = Feed.plain(stars_of(ROWS), 64)
    shares = [shares[0] for shares in plain.epoch(5, 2)]
    order = torch.randperm(len(ROWS), generator=generator(derived_seed(5, 2)))
    assert list(chain(*rows_in([s.stars for s in shares]))) == ROWS[order.numpy()].tolist()
    assert [s.seed for s in shares] == [derived_seed(5, 2, 1)] + 10 * [None]
    assert len({id(s.generator) for s in shares}) == 1
