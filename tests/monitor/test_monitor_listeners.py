"""Every listener passes the kit; each says what it should."""

import gc
import io
import json
import os
import sys

import numpy as np
import pytest
from conformance.listener_checks import ORDERLY, RESULT, STORED, ListenerChecks, tell
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util

from distcnn.config import MonitorConfig
from distcnn.errors import MissingExtra, UsageError
from distcnn.events import Advanced, EpochEnded, Notice, RegionFailed, StageEnded, StageStarted
from distcnn.monitor import LISTENERS, ListenerGroup, open_listener
from distcnn.monitor.console import LogLines
from distcnn.monitor.listeners.journal import Journal
from distcnn.monitor.listeners.tensorboard import TensorBoard


class TestJournal(ListenerChecks):
    @pytest.fixture
    def listener(self, tmp_path):
        with Journal(tmp_path / "journal.jsonl") as journal:
            yield journal


class TestTensorBoard(ListenerChecks):
    @pytest.fixture
    def listener(self, tmp_path):
        with TensorBoard(tmp_path / "logs") as logs:
            yield logs


class TestListenerGroup(ListenerChecks):
    @pytest.fixture
    def listener(self):
        return ListenerGroup(LogLines(io.StringIO()), LogLines(io.StringIO()))


class TestTheJournal:
    def test_every_event_is_one_line_of_json(self, tmp_path):
        path = tmp_path / "journal.jsonl"
        with Journal(path) as journal:
            tell(journal, *ORDERLY)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["event"] for line in lines] == [type(event).__name__ for event in ORDERLY]
        assert lines[0]["total"] == 100
        assert lines[-1]["facts"] == {"stars": 100, "seconds": 1.5}
        assert all(line["time"].endswith("+00:00") for line in lines)

    def test_every_line_has_its_run_and_the_stage_that_was_open(self, tmp_path):
        path = tmp_path / "journal.jsonl"
        with Journal(path) as journal:
            tell(journal, Notice("before"), StageStarted("train", 4, "epochs"))
            tell(journal, StageStarted("read", 1, "files"), Advanced("train", 1), Notice("in read"))
            tell(journal, StageEnded("read"), EpochEnded(0, 1, 2, -1.0, -0.5, 2000.0))
            tell(journal, StageEnded("train"), Notice("after"))
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        stages = [line["stage"] for line in lines]
        assert stages == [None, "train", "read", "train", "read", "read", "train", "train", None]
        assert {line["run"] for line in lines} == {journal.run}
        assert str(os.getpid()) in journal.run

    def test_lines_are_there_while_the_run_goes_on(self, tmp_path):
        with Journal(tmp_path / "j") as journal:
            journal(Notice("now"))
            assert "now" in (tmp_path / "j").read_text()

    def test_a_second_run_is_appended(self, tmp_path):
        for _ in range(2):
            with Journal(tmp_path / "j") as journal:
                journal(Notice("again"))
        assert len((tmp_path / "j").read_text().splitlines()) == 2

    def test_a_region_is_written_with_all_that_the_ledger_keeps_of_it(self, tmp_path):
        with Journal(tmp_path / "j") as journal:
            tell(journal, RegionFailed("predict", "0-32", 1, "gone"), STORED)
        failed, stored = map(json.loads, (tmp_path / "j").read_text().splitlines())
        assert (failed["event"], failed["region"], failed["attempt"]) == ("RegionFailed", "0-32", 1)
        assert (stored["stage"], stored["region"], stored["attempt"]) == (
            "predict",
            "000000000-000000032",
            2,
        )
        assert stored["result"] == RESULT.to_json()

    def test_values_that_json_lacks_are_written_plainly(self, tmp_path):
        facts = {
            "nan": float("nan"),
            "array": np.array([1, 2]),
            "path": tmp_path,
            "half": np.float16(0.5),
        }
        with Journal(tmp_path / "j") as journal:
            journal(StageEnded("x", facts))
        found = json.loads((tmp_path / "j").read_text())["facts"]
        assert found == {"nan": None, "array": [1, 2], "path": str(tmp_path), "half": 0.5}

    def test_a_journal_that_cannot_be_written_is_a_usage_error(self, tmp_path):
        with pytest.raises(UsageError, match="cannot be written"):
            Journal(tmp_path / "no" / "journal.jsonl")


class TestTensorBoardLogs:
    def read(self, folder):
        found = {}
        for path in sorted(folder.glob("*/events*")):
            for record in EventFileLoader(str(path)).Load():
                for value in record.summary.value:
                    number = float(tensor_util.make_ndarray(value.tensor))
                    found[path.parent.name, value.tag, record.step] = number
        return found

    def test_members_are_runs_and_a_continued_run_adds_to_them(self, tmp_path):
        with TensorBoard(tmp_path) as logs:
            logs(EpochEnded(0, 1, 2, -1.0, -0.5, 2000.0, learning_rate=0.003))
            assert self.read(tmp_path)["member_00", "loss/validation", 1] == -0.5
            logs(EpochEnded(7, 1, 2, -1.0, float("nan"), 2000.0))
        with TensorBoard(tmp_path) as logs:
            tell(logs, EpochEnded(0, 2, 2, -1.5, -0.75, 2500.0), Notice("not for here"))
        found = self.read(tmp_path)
        assert found["member_00", "loss/training", 1] == -1.0
        assert found["member_00", "loss/training", 2] == -1.5
        assert found["member_00", "learning_rate", 1] == pytest.approx(0.003)
        assert found["member_00", "stars_per_second", 2] == 2500
        assert ("member_07", "learning_rate", 1) not in found
        assert np.isnan(found["member_07", "loss/validation", 1])

    def test_what_a_region_costs_is_drawn_over_the_stars(self, tmp_path):
        with TensorBoard(tmp_path) as logs:
            logs(STORED)
        found = {tag: value for (_, tag, _), value in self.read(tmp_path).items()}
        seconds = {f"seconds/{name}": value for name, value in RESULT.seconds.items()}
        rest = {"memory_bytes": RESULT.memory, "stars_failed": 1, "batch": 16}
        assert found == pytest.approx(seconds | rest)
        assert {(run, step) for run, _, step in self.read(tmp_path)} == {("predict", 0)}

    def test_a_folder_that_cannot_be_written_is_a_usage_error(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="cannot be written"):
            TensorBoard(tmp_path / "file" / "logs")

    def test_without_the_package_the_extra_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
        with pytest.raises(MissingExtra, match=r"pip install 'distcnn\[tensorboard\]'"):
            TensorBoard(tmp_path / "logs")
        assert not (tmp_path / "logs").exists()


class TestListenersAreSwitchedOnByConfiguration:
    def test_every_key_of_the_section_has_its_listener(self):
        assert set(LISTENERS) | {"stalled_after"} == set(MonitorConfig.model_fields)

    def test_the_console_comes_first_and_every_configured_listener_hears_the_same(self, tmp_path):
        config = MonitorConfig(journal=tmp_path / "j", tensorboard=tmp_path / "logs")
        console = io.StringIO()
        with open_listener(config, console) as listener:
            tell(listener, *ORDERLY, EpochEnded(0, 1, 2, -1.0, -0.5, 2000.0))
        assert "predict: done" in console.getvalue()
        assert len((tmp_path / "j").read_text().splitlines()) == len(ORDERLY) + 1
        assert list((tmp_path / "logs").glob("member_00/events*"))

    def test_without_configuration_there_is_the_console_alone(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        console = io.StringIO()
        with open_listener(stream=console) as listener:
            tell(listener, *ORDERLY)
        assert "predict: done" in console.getvalue()
        assert list(tmp_path.iterdir()) == []

    def test_a_wrong_setting_stops_before_the_work_and_closes_what_was_open(self, tmp_path):
        (tmp_path / "file").write_text("")
        config = MonitorConfig(journal=tmp_path / "j", tensorboard=tmp_path / "file" / "logs")
        with pytest.raises(UsageError, match="cannot be written"), open_listener(config):
            pytest.fail("the work began")
        # An open file would be a ResourceWarning, which is an error here.
        gc.collect()

    def test_a_full_disk_ends_the_journal_and_not_the_work(self):
        console = io.StringIO()
        with open_listener(MonitorConfig(journal="/dev/full"), console) as listener:
            tell(listener, *ORDERLY)
        assert console.getvalue().count("Journal failed and is left out") == 1
        assert "No space left" in console.getvalue()
        assert "predict: done" in console.getvalue()

    def test_an_error_of_the_work_is_not_hidden_and_the_journal_is_whole(self, tmp_path):
        config = MonitorConfig(journal=tmp_path / "j")

        def work():
            with open_listener(config, io.StringIO()) as listener:
                listener(Notice("begun"))
                raise KeyError("work")

        with pytest.raises(KeyError, match="work"):
            work()
        assert "begun" in (tmp_path / "j").read_text()


class TestAListenerGroupGuards:
    def test_one_that_fails_to_close_does_not_keep_the_others_open(self, tmp_path, capfd):
        class Stuck:
            def __call__(self, event):
                pass

            def close(self):
                raise OSError("no space left")

        journal = Journal(tmp_path / "j")
        group = ListenerGroup(journal, Stuck())
        group.close()
        assert capfd.readouterr().err.count("no space left") == 1
        with pytest.raises(ValueError, match="closed file"):
            journal(Notice("late"))

    def test_a_failing_listener_is_left_out_and_the_others_hear_why_once(self):
        heard = []

        def broken(event):
            raise RuntimeError("the disk is full")

        group = ListenerGroup(broken, heard.append)
        tell(group, *ORDERLY)
        reports = [event for event in heard if event not in ORDERLY]
        assert [event for event in heard if event in ORDERLY] == list(ORDERLY)
        assert len(reports) == 1
        assert "the disk is full" in reports[0].text
        assert reports[0].level == "warning"

    def test_when_nobody_is_left_standard_error_hears_it_once(self, capfd, monkeypatch):
        def broken(event):
            raise OSError("gone")

        tell(ListenerGroup(broken), *ORDERLY)
        assert capfd.readouterr().err.count("gone") == 1

    def test_two_failures_at_once_do_not_stop_it(self, capfd):
        def first(event):
            raise ValueError("first")

        def second(event):
            raise KeyError("second")

        tell(ListenerGroup(first, second), *ORDERLY)
        error = capfd.readouterr().err
        assert error.count("ValueError") == error.count("KeyError") == 1

    def test_control_c_is_not_swallowed(self):
        def interrupted(event):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ListenerGroup(interrupted)(Notice("x"))
