"""What deploy/monitoring holds: checked by Prometheus' own tools and on a real run."""

import json
import re
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil
import pytest
import yaml
from conformance.cluster_checks import wait_until

from distcnn.clusters import open_cluster
from distcnn.config import LocalConfig, MonitorConfig, PredictConfig
from distcnn.events import silent
from distcnn.location import Location
from distcnn.monitor.dashboard.metrics import TABLE, WORKER_TABLE
from distcnn.monitor.run_monitor import watch_run
from tests.inference.small import go, make_package, make_survey

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"
NAMES = {row.exported for row in (*TABLE, *WORKER_TABLE)}
LABELS = {"run", "instance", *(label for row in (*TABLE, *WORKER_TABLE) for label in row.labels)}


def needed(program):
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian package prometheus)")
    return found


def queries():
    """Every query of the Grafana dashboard, with its title; all runs are chosen."""
    board = json.loads((FOLDER / "grafana.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$run", ".*")


def rules():
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return group["rules"]


def names_in(query):
    return set(re.findall(r"\bdistcnn_\w+", query))


def test_queries_and_alerts_name_only_metrics_and_labels_that_exist():
    asked = [*queries(), *((rule["alert"], rule["expr"]) for rule in rules())]
    for title, query in asked:
        assert names_in(query), title
        assert names_in(query) <= NAMES, title
        by = re.findall(r"(?:by|on) \(([^)]*)\)", query)
        assert {label.strip() for one in by for label in one.split(",")} <= LABELS, title


def test_almost_every_metric_is_shown_or_watched():
    used = {name for _, query in queries() for name in names_in(query)}
    used |= {name for rule in rules() for name in names_in(rule["expr"])}
    left = NAMES - used
    assert left <= {
        *("distcnn_regions_done_total", "distcnn_worker_regions_total"),
        "distcnn_worker_last_region_timestamp_seconds",
        "distcnn_worker_step_seconds_total",
    }


def test_panels_stand_side_by_side_and_have_titles_and_queries():
    panels = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_itself_accepts_the_files(arguments):
    done = subprocess.run(
        [needed("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@contextmanager
def prometheus(folder, scheduler, workers):
    """Prometheus with our files, but for the addresses and a scrape every second."""
    shutil.copy(FOLDER / "alerts.yml", folder)
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [scheduler]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "workers.json").write_text(json.dumps([{"targets": workers}]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with (folder / "log").open("wb") as log:
        process = psutil.Popen(
            [
                needed("prometheus"),
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address={address}",
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def ask(address, query):
    """Values that a query gives now; none while Prometheus is not ready."""
    try:
        with urlopen(f"{address}/api/v1/query?{urlencode({'query': query})}", timeout=30) as text:
            return [float(one["value"][1]) for one in json.load(text)["data"]["result"]]
    except OSError:
        return []


@pytest.mark.slow
def test_a_real_run_is_scraped_and_every_panel_has_data(tmp_path):
    needed("prometheus")
    make_package(tmp_path / "package", make_survey(tmp_path / "survey.zarr", stars=1000))
    (tmp_path / "prometheus").mkdir()
    config = PredictConfig(batch=16, engine="eager", precision="float32")
    with open_cluster(LocalConfig(workers=2), silent) as executor:
        info = executor.client.scheduler_info(n_workers=-1)["workers"].values()
        workers = [f"127.0.0.1:{one['services']['dashboard']}" for one in info]
        scheduler = executor.dashboard.removeprefix("http://").removesuffix("/status")
        with prometheus(tmp_path / "prometheus", scheduler, workers) as address:
            place = Location.parse(tmp_path / "predictions.zarr")
            with watch_run(executor, MonitorConfig(), silent, output=place) as watched:
                wait_until(lambda: ask(address, "up"))
                go(tmp_path, config, executor, watched)
                # Gone once the run has ended, since nothing is left to do.
                seconds_left = [q for title, q in queries() if title == "Time left"]
                asked = {query for _, query in queries()} - set(seconds_left)
                wait_until(lambda: all(ask(address, query) for query in asked))
            wait_until(lambda: ask(address, "distcnn_run_active") == [0.0])
            assert ask(address, "distcnn_stars_done_total") == [1000.0]
            # Workers are scraped at moments of their own, which may be a second behind.
            wait_until(lambda: sum(ask(address, "distcnn_worker_stars_total")) == 1000)
            wait_until(lambda: sum(ask(address, "distcnn_worker_engine_info")) == 2)
            assert ask(address, 'count(ALERTS{alertstate="firing"})') == []
            with urlopen(f"{address}/api/v1/rules", timeout=30) as text:
                (group,) = json.load(text)["data"]["groups"]
            assert [rule["health"] for rule in group["rules"]] == ["ok"] * len(rules())
