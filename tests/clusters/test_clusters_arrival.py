"""Waiting for workers: told while it lasts, with a clear end."""

import pytest
from distributed import Client, LocalCluster

from distcnn.clusters.dask_workers.starting import arrival
from distcnn.clusters.dask_workers.starting.arrival import wait_for_workers
from distcnn.errors import ClusterError


@pytest.fixture
def client():
    """Of a scheduler in this process, without workers."""
    with (
        LocalCluster(
            n_workers=0,
            processes=False,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def talkative(monkeypatch):
    """Every look at the workers is told."""
    monkeypatch.setattr(arrival, "QUIET_S", 0.0)
    monkeypatch.setattr(arrival, "LONGEST_SILENCE_S", 0.0)
    return []


def test_workers_that_come_are_told_one_after_the_other(client, talkative):
    def listen(event):
        talkative.append(event.text)
        if len(talkative) < 3:
            client.cluster.scale(len(talkative))

    assert wait_for_workers(client, 2, patience=60, listener=listen) == 2
    assert talkative[0].startswith("0 of 2 workers, ")
    assert talkative[-1].startswith("2 of 2 workers, ")


def test_workers_that_are_there_need_no_word(client):
    client.cluster.scale(1)
    client.wait_for_workers(1, timeout=60)
    said = []
    assert wait_for_workers(client, 1, patience=60, listener=said.append) == 1
    assert said == []


def test_those_that_do_not_come_end_the_wait_with_what_is_known_of_them(client):
    with pytest.raises(ClusterError) as caught:
        wait_for_workers(client, 3, patience=0.1, why=lambda: "job 12 waits", cure="Ask less.")
    text = str(caught.value)
    assert text.startswith("0 of 3 workers, 0.")
    assert text.endswith("s (job 12 waits): expected 3 workers. Ask less.")


def test_fewer_may_be_enough(client):
    client.cluster.scale(1)
    client.wait_for_workers(1, timeout=60)
    said = []
    came = wait_for_workers(client, 3, patience=0.1, least=1, listener=said.append)
    assert came == 1
    assert said[-1].level == "warning"
    assert "the work begins with these" in said[-1].text
