"""Every star once, whatever the ranks, and never more in memory than the shuffle buffer."""

from itertools import chain

import numpy as np
import pytest
import torch

from distcnn.training.data.loader import (
    InMemoryDataset,
    StreamedDataset,
    TrainLoader,
    derived_seed,
    rows_of_virtual_rank,
)
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
    return StreamedDataset(rows, read, piece=16, buffer=buffer)


ROWS = np.flatnonzero(np.arange(1000) % 3 > 0)


def test_virtual_ranks_share_the_stars_out_evenly():
    parts = [rows_of_virtual_rank(ROWS, 7, number) for number in range(7)]
    np.testing.assert_array_equal(np.concatenate(parts), ROWS)
    assert len({len(part) for part in parts}) <= 2


@pytest.mark.parametrize("kind", ["in memory", "streamed"])
def test_every_epoch_sees_every_star_once_in_another_order(kind):
    dataset = InMemoryDataset(stars_of(ROWS)) if kind == "in memory" else streamed(ROWS, Reader())
    first = rows_in(dataset.batches(generator(1), 11, 0))
    second = rows_in(dataset.batches(generator(2), 11, 0))
    for epoch in (first, second):
        assert sorted(chain(*epoch)) == ROWS.tolist()
        assert {len(batch) for batch in epoch} <= {60, 61}
    assert first != second
    assert rows_in(dataset.batches(generator(1), 11, 0)) == first


def test_a_streamed_dataset_holds_no_more_than_its_buffer():
    read = Reader()
    rows_in(streamed(ROWS, read).batches(generator(), 11, 0))
    assert sum(read.asked) == len(ROWS)
    assert max(read.asked) <= 100


def test_a_streamed_dataset_mixes_neighbours_within_the_buffer_only():
    (first, *_) = rows_in(streamed(ROWS, Reader()).batches(generator(), 11, 0))
    assert first != sorted(first)
    assert len({row // 16 for row in first}) > 5


@pytest.mark.parametrize("kind", ["in memory", "streamed"])
@pytest.mark.parametrize("first", [1, 5, 10])
def test_an_epoch_goes_on_in_the_middle(kind, first):
    read = Reader()
    dataset = InMemoryDataset(stars_of(ROWS)) if kind == "in memory" else streamed(ROWS, read)
    whole = rows_in(dataset.batches(generator(), 11, 0))
    read.asked.clear()
    assert rows_in(dataset.batches(generator(), 11, first)) == whole[first:]
    if kind == "streamed" and first == 10:
        assert sum(read.asked) < 200  # what lies before is not read


def test_a_dataset_with_fewer_stars_than_steps_gives_empty_batches():
    dataset = streamed(ROWS[:2], Reader())
    sizes = [len(batch) for batch in dataset.batches(generator(), 4, 0)]
    assert sizes == [1, 1, 0, 0]


def loader(numbers, of):
    datasets = {
        number: InMemoryDataset(stars_of(rows_of_virtual_rank(ROWS, of, number)))
        for number in numbers
    }
    return TrainLoader(datasets, of, len(ROWS), 64, torch.ones(1, 1))


def steps_of(loader):
    return [
        {
            (
                tuple(rows_in([micro_batch.stars])[0]),
                micro_batch.seed,
                micro_batch.generator.initial_seed(),
            )
            for micro_batch in micro_batches
        }
        for micro_batches in loader.epoch(5, 2)
    ]


def test_what_a_step_sees_does_not_depend_on_who_has_which_virtual_rank():
    whole = steps_of(loader(range(4), 4))
    parts = zip(steps_of(loader([0, 3], 4)), steps_of(loader([1, 2], 4)), strict=True)
    assert [one | other for one, other in parts] == whole
    assert len(whole) == loader(range(4), 4).steps == 11


def test_random_numbers_differ_between_virtual_ranks_and_steps():
    steps = steps_of(loader(range(4), 4))
    seeds = [micro_batch[1] for step in steps for micro_batch in step]
    assert len(set(seeds)) == len(seeds) == 44


def test_one_virtual_rank_in_memory_draws_as_one_generator_does():
    plain = TrainLoader.in_memory(stars_of(ROWS), 64)
    micro_batches = [micro_batches[0] for micro_batches in plain.epoch(5, 2)]
    order = torch.randperm(len(ROWS), generator=generator(derived_seed(5, 2)))
    assert list(chain(*rows_in([s.stars for s in micro_batches]))) == ROWS[order.numpy()].tolist()
    assert [s.seed for s in micro_batches] == [derived_seed(5, 2, 1)] + 10 * [None]
    assert len({id(s.generator) for s in micro_batches}) == 1
