"""Threads of arithmetic: as many as the worker has, and as before afterwards."""

import pytest
import torch
from threadpoolctl import threadpool_info

from distcnn.executor import WorkerContext, worker_context
from distcnn.model.devices import worker_threads


def threads_of_blas():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_and_blas_use_the_threads_of_the_worker(threads):
    before = torch.get_num_threads()
    with worker_context(WorkerContext(threads=threads)), worker_threads():
        assert torch.get_num_threads() == threads
        assert max(threads_of_blas()) <= threads
    assert torch.get_num_threads() == before


def test_without_a_worker_there_is_one_thread():
    with worker_threads():
        assert torch.get_num_threads() == 1
