"""The page on the Dask dashboard and the metrics beside it, on schedulers of several kinds."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import psutil
import pytest
import yaml
from conformance.cluster_checks import wait_until
from dask import config
from distributed import Client, LocalCluster, Security
from monitor.runs import busy_state

from distcnn.clusters import open_cluster
from distcnn.clusters.k8s import KubernetesConfig, render
from distcnn.clusters.slurm import SlurmConfig
from distcnn.clusters.slurm.script import JobScript
from distcnn.config import LocalConfig, MonitorConfig, PredictConfig
from distcnn.events import Notice, RegionStored, silent
from distcnn.location import Location
from distcnn.monitor.dashboard import metrics, tables
from distcnn.monitor.dashboard.link import DaskLink
from distcnn.monitor.dashboard.plugin import MAX_RUNS, RunsPlugin
from distcnn.monitor.run_monitor import watch_run
from tests.inference.small import go, make_package, make_survey

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")


@contextmanager
def scheduler(**more):
    """A scheduler without workers, and a client of it."""
    settings = {"n_workers": 0, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", **more}
    with (
        TemporaryDirectory() as folder,  # else Dask leaves one of its own behind
        config.set({"temporary-directory": folder}),
        LocalCluster(silence_logs=50, **settings) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield cluster, client


def read(address, name):
    with urlopen(f"{address.removesuffix('status')}{name}", timeout=30) as answer:
        return answer.read().decode()


def test_the_page_is_added_to_a_scheduler_that_runs_already():
    with scheduler() as (cluster, client):
        link = DaskLink(client)
        assert link.open() == f"Page of this run: {cluster.dashboard_link[:-6]}distcnn"
        assert link.send(busy_state()[0].snapshot())
        assert "<title>distcnn</title>" in read(cluster.dashboard_link, "distcnn")
        assert 'href="distcnn"' in read(cluster.dashboard_link, "workers")
        assert read(cluster.dashboard_link, "status")


def test_a_second_client_uses_the_page_that_is_there_and_both_runs_are_kept():
    with scheduler() as (cluster, client):
        for run in ("one", "two"):
            link = DaskLink(client)
            link.open()
            assert link.send(busy_state(run=run)[0].snapshot())
        (plugin,) = [p for p in cluster.scheduler.plugins.values() if isinstance(p, RunsPlugin)]
        assert list(plugin.runs) == ["one", "two"]
        paths = [
            path
            for app in cluster.scheduler.http_application.applications
            for path in getattr(app, "app_paths", ())
            if path.endswith("/distcnn")
        ]
        assert len(paths) == 1


def test_a_scheduler_keeps_the_last_runs_only():
    plugin = RunsPlugin()
    for number in range(3 * MAX_RUNS):
        plugin.update(busy_state(regions=1, run=str(number))[0].snapshot())
    assert len(plugin.runs) == len(plugin.received) == MAX_RUNS
    assert plugin.latest()["run"] == str(3 * MAX_RUNS - 1)


def test_a_scheduler_that_forgot_the_plugin_gets_it_again(monkeypatch):
    monkeypatch.setattr("distcnn.monitor.dashboard.link.RETRY_S", 0.0)
    with scheduler() as (cluster, client):
        link = DaskLink(client)
        link.open()
        for name in [n for n in cluster.scheduler.plugins if n.startswith("distcnn")]:
            del cluster.scheduler.plugins[name]
        del cluster.scheduler.handlers["distcnn_update"]
        snapshot = busy_state()[0].snapshot()
        assert not link.send(snapshot)
        assert link.send(snapshot)


def test_a_scheduler_without_a_dashboard_has_metrics_all_the_same():
    with scheduler(scheduler_kwargs={"dashboard": False}) as (cluster, client):
        link = DaskLink(client)
        assert link.open() == ""
        assert link.trouble == "the scheduler has no dashboard"
        assert link.send(busy_state()[0].snapshot())
        port = cluster.scheduler.http_server.port
        assert "distcnn_stars_done_total" in read(f"http://127.0.0.1:{port}/", "metrics")


def test_a_scheduler_on_another_host_that_listens_on_loopback_needs_a_tunnel():
    link = DaskLink(None, "http://10.0.0.5:8787/status")
    there = {
        "host": "far.example",
        "address": "127.0.0.1",
        "port": 8787,
        "trouble": "",
        "pod": False,
    }
    assert link._where(there).endswith("ssh -N -L 8787:127.0.0.1:8787 far.example")
    assert link._where({**there, "address": "10.0.0.5"}).endswith("http://10.0.0.5:8787/distcnn")
    assert link._where({**there, "pod": True}).endswith("kubectl port-forward pod/far.example 8787")
    tunnelled = DaskLink(None, "http://127.0.0.1:9999/status")
    assert tunnelled._where(there).endswith("http://127.0.0.1:9999/distcnn")


def test_the_page_comes_over_an_encrypted_connection_too():
    with scheduler(security=Security.temporary()) as (cluster, client):
        assert cluster.scheduler_address.startswith("tls://")
        link = DaskLink(client)
        assert link.open().startswith("Page of this run: http://127.0.0.1:")
        assert link.send(busy_state()[0].snapshot())
        assert "<title>distcnn</title>" in read(cluster.dashboard_link, "distcnn")


def test_a_lost_scheduler_never_harms_the_run():
    with scheduler() as (_, client):
        link = DaskLink(client)
        link.open()
    assert not link.send(busy_state()[0].snapshot())
    assert not link.send(busy_state()[0].snapshot(), last=True)
    assert link.holders(["a"]) == {}


def test_every_metric_of_the_table_is_scraped_and_no_other():
    with scheduler() as (cluster, client):
        link = DaskLink(client)
        link.open()
        state = busy_state()[0]
        state.facts |= {"free_bytes": 10**9, "workers_expected": 2}
        link.send(state.snapshot())
        text = read(cluster.dashboard_link, "metrics")
    names = set(re.findall(r"^(distcnn_\w+)", text, re.M))
    assert names == {row.exported for row in metrics.TABLE}
    assert 'distcnn_stars_done_total{run="one"} 60000.0' in text
    assert 'distcnn_flagged_stars_total{flag="NO_XP",run="one"} 1800.0' in text
    assert 'distcnn_step_seconds_total{run="one",step="infer"} 60.0' in text


def test_texts_from_outside_are_escaped():
    state = busy_state()[0]
    state.facts["output"] = "<script>alert(1)</script>"
    parts = tables.render(state.snapshot(), 0.0, ["<i>"])
    assert not any(bad in text for text in parts.values() for bad in ("<script", "<b>", "<i>"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard")
    make_package(folder / "package", make_survey(folder / "survey.zarr", stars=1500))
    return folder


@pytest.mark.slow
def test_a_real_run_is_seen_in_a_real_browser_and_after_its_end(inputs, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    heard, seen = [], []
    predict = PredictConfig(batch=16, engine="eager", precision="float32")

    def listen(event):
        heard.append(event)
        if isinstance(event, RegionStored) and len(seen) == 0 and len(stored()) == 30:
            page.goto(address())
            page.wait_for_selector("text=of 1,500 stars done")
            page.wait_for_selector("text=running")
            page.wait_for_selector("text=eager float32")
            seen.append(event.region)

    def stored():
        return [event for event in heard if isinstance(event, RegionStored)]

    def address():
        texts = [event.text for event in heard if isinstance(event, Notice)]
        return next(re.search(r"http://\S+/distcnn", t)[0] for t in texts if "/distcnn" in t)

    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        with open_cluster(LocalConfig(workers=2), silent) as executor:
            with watch_run(
                executor, MonitorConfig(), listen, output=Location.parse(tmp_path / "p.zarr")
            ) as watched:
                go(inputs, predict, executor, watched, predictions=tmp_path / "p.zarr")
            late = browser.new_page(viewport={"width": 1400, "height": 900})
            late.goto(address())
            late.wait_for_selector("text=complete")
            late.wait_for_selector("text=1,500 of 1,500 stars done")
            late.wait_for_selector("canvas")
            picture = late.screenshot(path=str(tmp_path / "late.png"))
            workers = {event.result.worker for event in stored()}
            words = ("compute", "read", "flags", "write", "no_xp", "stars quarantined")
            found = [late.get_by_text(word).count() for word in (*words, *workers)]
        browser.close()
    assert len(seen) == 1
    assert len(picture) > 30_000
    assert all(found), found


@pytest.mark.slow
def test_pages_and_metrics_listen_on_loopback_alone(inputs, tmp_path):
    with open_cluster(LocalConfig(workers=2), silent) as executor:
        with watch_run(executor, MonitorConfig(), silent) as watched:
            go(inputs, PredictConfig(batch=16), executor, watched, predictions=tmp_path / "p")
        me = psutil.Process()
        listening = {
            connection.laddr
            for process in (me, *me.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert len(listening) > 3
        assert {place.ip for place in listening} == {"127.0.0.1"}
        info = executor.client.scheduler_info(n_workers=-1)["workers"].values()
        texts = [
            read(f"http://127.0.0.1:{one['services']['dashboard']}/", "metrics") for one in info
        ]
    counts = [re.search(r"^distcnn_worker_stars_total (\S+)", text, re.M) for text in texts]
    assert sum(float(found[1]) for found in counts if found) == 1500
    names = {name for text in texts for name in re.findall(r"^(distcnn_\w+)", text, re.M)}
    assert names == {row.exported for row in metrics.WORKER_TABLE}


@contextmanager
def dask(*arguments, folder):
    """A process of Dask's command line."""
    with (folder / "log").open("ab") as log:
        process = psutil.Popen(
            [sys.executable, "-m", f"distributed.cli.{arguments[0]}", *arguments[1:]],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        for one in (*process.children(recursive=True), process):
            one.kill()
        process.wait()


def test_a_scheduler_in_a_process_of_its_own_shows_the_run_after_its_client_has_gone(tmp_path):
    where = tmp_path / "where.json"
    address = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    options = ("--no-show", "--scheduler-file", str(where))
    with dask("dask_scheduler", *address, *options, folder=tmp_path) as process:
        wait_until(lambda: where.exists() and where.read_text().rstrip().endswith("}"))
        with Client(json.loads(where.read_text())["address"], set_as_default=False) as client:
            link = DaskLink(client)
            page = re.search(r"http://127\.0\.0\.1:\d+/distcnn", link.open())[0]
            assert link.send(busy_state()[0].snapshot())
        assert "<title>distcnn</title>" in read(page.removesuffix("distcnn"), "distcnn")
        text = read(page.removesuffix("distcnn"), "metrics")
        assert 'distcnn_stars_done_total{run="one"} 60000.0' in text
        listening = [c.laddr.ip for c in process.net_connections("inet") if c.status == "LISTEN"]
        assert set(listening) == {"127.0.0.1"}


def test_workers_in_jobs_and_pods_show_their_numbers_on_loopback_alone():
    # Without an address a worker of Dask would show them everywhere, even with --no-dashboard.
    job = JobScript(SlurmConfig(), "job", Path("/logs")).render("tcp://10.0.0.1:1234", "w7")
    assert "--dashboard-address 127.0.0.1:0" in job
    pods = yaml.safe_load_all(render(KubernetesConfig(image="distcnn:1", workers=1)))
    commands = re.findall(r"'--dashboard-address', '([^']*):\d+'", str(list(pods)))
    assert len(commands) >= 2
    assert set(commands) == {"127.0.0.1"}
