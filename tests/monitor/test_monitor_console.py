"""The console passes the kit of listeners, and says what a person wants to know."""

import io

import pytest
from conformance.listener_checks import ORDERLY, STORED, ListenerChecks, tell

from distcnn.events import Advanced, EpochEnded, Notice, RegionFailed, StageEnded, StageStarted
from distcnn.monitor import console_display
from distcnn.monitor.console import LogLines
from distcnn.monitor.console.progress_bars import MAX_MEMBER_BARS, ProgressBars


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes when a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestLogLines(ListenerChecks):
    @pytest.fixture
    def listener(self):
        return LogLines(io.StringIO())


class TestProgressBars(ListenerChecks):
    @pytest.fixture
    def listener(self):
        bars = ProgressBars(Terminal())
        yield bars
        bars.close()


class TestLogLinesInTime:
    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def stream(self):
        return io.StringIO()

    @pytest.fixture
    def lines(self, stream, clock):
        return LogLines(stream, clock=clock)

    def texts(self, stream):
        """What was written, without the date and time before every line."""
        return [line.split(" ", 2)[2] for line in stream.getvalue().splitlines()]

    def test_a_line_tells_count_speed_and_time_left(self, lines, stream, clock):
        lines(StageStarted("predict", 21_000, "stars", done=1_000))
        clock.now += 10
        lines(Advanced("predict", 5_000))
        clock.now += 90
        lines(StageEnded("predict", {"stars": 21_000, "failed": 3, "mean_speed": 512.3}))
        assert self.texts(stream) == [
            "predict: begins, 1,000 of 21,000 stars (5 %)",
            "predict: 6,000 of 21,000 stars (29 %), 500 stars/s, 30 s left",
            "predict: done after 1 min 40 s; stars 21,000, failed 3, mean speed 512",
        ]

    def test_lines_between_start_and_end_are_rare_and_lose_no_count(self, lines, stream, clock):
        lines(StageStarted("ingest", 1000, "files"))
        for _ in range(100):
            clock.now += 0.25
            lines(Advanced("ingest", 10))
        texts = self.texts(stream)
        assert len(texts) == 1 + 5
        assert texts[-1] == "ingest: 1,000 of 1,000 files (100 %), 40 files/s"

    def test_stages_do_not_share_their_rate(self, lines, stream, clock):
        tell(lines, StageStarted("a", 2, "x"), StageStarted("b", 2, "x"))
        clock.now += 6
        tell(lines, Advanced("a", 1), Advanced("b", 1))
        assert len(self.texts(stream)) == 4

    def test_epochs_are_reported_per_member_and_the_last_always(self, lines, stream, clock):
        for epoch in range(1, 11):
            for member in (0, 1):
                lines(EpochEnded(member, epoch, 10, -1.5, -1.25, 2246.0))
            clock.now += 1
        texts = self.texts(stream)
        assert texts[0] == (
            "member 0: epoch 1 of 10, loss -1.5000, validation -1.2500, 2,246 stars/s"
        )
        assert texts[2].endswith("2,246 stars/s, at most 4.0 s left")
        assert sum("epoch 10 of 10" in text for text in texts) == 2
        assert len(texts) == 6

    def test_a_member_begun_again_or_better_informed_has_another_time_left(self, lines, clock):
        def left(epoch, **known):
            lines(EpochEnded(0, epoch, 10, 0.0, 0.0, 1.0, **known))
            return lines.member_estimates[0].seconds_left(clock())

        assert left(4) is None
        clock.now += 3
        assert left(5) == 15
        assert left(6, seconds_left=7.0) == 7
        assert left(1) is None

    def test_stored_regions_count_their_stars_and_failed_ones_are_warned_of(
        self, lines, stream, clock
    ):
        lines(StageStarted("predict", 64, "stars"))
        clock.now += 8
        tell(lines, RegionFailed("predict", "0-32", 1, "gone"), STORED)
        assert self.texts(stream)[1:] == [
            "warning: Region 0-32 failed: gone",
            "predict: 32 of 64 stars (50 %), 4 stars/s, 8.0 s left",
        ]

    def test_notices_are_shown_at_once_with_their_level(self, lines, stream):
        tell(lines, Notice("first\nsecond"), Notice("beware", "warning"))
        assert self.texts(stream) == ["first", "second", "warning: beware"]

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.04, "0.0 s"),
            (59.4, "59 s"),
            (59.9, "1 min 00 s"),
            (3600, "1 h 00 min"),
            (7505, "2 h 05 min"),
        ],
    )
    def test_durations_are_said_as_people_do(self, lines, stream, clock, seconds, text):
        lines(StageStarted("report", 1, "pages"))
        clock.now += seconds
        lines(StageEnded("report"))
        assert self.texts(stream)[-1] == f"report: done after {text}"


class TestTheConsole:
    def test_bars_are_drawn_on_a_terminal_and_taken_away_at_the_end(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        screen = Terminal()
        bars = ProgressBars(screen)
        tell(bars, StageStarted("predict", 100, "stars"), Advanced("predict", 40))
        bars.progress.refresh()
        assert "predict" in screen.getvalue()
        assert "40/100" in screen.getvalue()
        tell(bars, Notice("[M/H] is kept"), StageEnded("predict", {"stars": 100}))
        assert bars.progress is None
        assert "[M/H] is kept" in screen.getvalue()
        assert "✓" in screen.getvalue()
        assert "stars 100" in screen.getvalue()

    def test_members_have_bars_with_their_losses(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        screen = Terminal()
        bars = ProgressBars(screen)
        bars.console.width = 150
        tell(bars, StageStarted("train", 20, "epochs"), EpochEnded(3, 7, 10, -1.5, -1.25, 2246.0))
        bars.progress.refresh()
        for text in ("member 3", "-1.500 / -1.250", "7/10", "2,246 stars/s"):
            assert text in screen.getvalue()
        bars(StageEnded("train"))
        assert bars.members == {}

    def test_time_left_is_shown_per_member_and_over_all(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        clock, screen = Clock(), Terminal()
        bars = ProgressBars(screen, clock=clock)
        bars.console.width = 150
        tell(bars, StageStarted("train", 20, "epochs"), EpochEnded(0, 1, 10, -1.5, -1.2, 2e3))
        clock.now += 10
        tell(bars, EpochEnded(0, 2, 10, -1.5, -1.2, 2e3), Advanced("train", 1))
        bars.progress.refresh()
        assert "1 min 20 s left" in screen.getvalue()
        assert "3 min 10 s left" in screen.getvalue()
        bars.close()

    def test_many_members_do_not_fill_the_screen(self):
        bars = ProgressBars(Terminal())
        bars(StageStarted("train", 300, "epochs"))
        for member in range(MAX_MEMBER_BARS):
            bars(EpochEnded(member, 1, 10, 0.0, 0.0, 1.0))
        tell(bars, EpochEnded(0, 2, 10, 0.0, 0.0, 1.0), EpochEnded(99, 1, 10, 0.0, 0.0, 1.0))
        assert set(bars.members) == {0, 99, *range(2, MAX_MEMBER_BARS)}
        assert len(bars.progress.tasks) == MAX_MEMBER_BARS + 1
        bars.close()

    def test_a_log_gets_lines_and_a_terminal_gets_bars(self):
        log, screen = io.StringIO(), Terminal()
        tell(console_display(log), *ORDERLY)
        assert "\x1b" not in log.getvalue()
        assert "predict: done" in log.getvalue()
        tell(console_display(screen), *ORDERLY)
        assert "✓" in screen.getvalue()

    def test_it_speaks_on_standard_error(self, capsys):
        tell(console_display(), *ORDERLY)
        output = capsys.readouterr()
        assert output.out == ""
        assert "predict: begins, 20 of 100 stars (20 %)" in output.err
