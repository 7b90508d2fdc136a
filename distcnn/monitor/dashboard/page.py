"""The page ``/distcnn``: one screen that says how a run is going.

Drawn from the snapshots that ``RunsPlugin`` holds, once a second and only where something has
changed; a page that nobody looks at costs nothing. Numbers and tables are HTML (``tables``), the
curves are bokeh's.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bokeh.models
import bokeh.plotting

from distcnn.monitor.dashboard import tables
from distcnn.monitor.run_state import CURVES, Snapshot

if TYPE_CHECKING:
    from distcnn.monitor.dashboard.plugin import RunsPlugin

# What bokeh says of its own types fits no call of its documentation.
models: Any = bokeh.models
plotting: Any = bokeh.plotting
PERIOD_MS = 1000
"""Time between two looks at the snapshot."""
INK, BLUE, ORANGE, GREEN, PURPLE, LINES = (
    *("#1f2933", "#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#e4e7eb"),
)
TEMPLATE = Path(__file__).with_name("page.html")
STYLE = Path(__file__).with_name("page.css")


def make_page(plugin: "RunsPlugin", document: Any) -> None:
    """Fill a new document of bokeh's server, and keep it up to date while it is open."""
    page = _Page(plugin, _asked_run(document))
    document.title = "distcnn"
    document.template = TEMPLATE.read_text(encoding="utf-8")
    for root in page.roots():
        document.add_root(root)
    page.update()
    document.add_periodic_callback(page.update, PERIOD_MS)


def _asked_run(document: Any) -> str | None:
    """The run of ``/distcnn?run=NAME``."""
    arguments = document.session_context.request.arguments.get("run", [])
    return arguments[0].decode(errors="replace") if arguments else None


class _Page:
    def __init__(self, plugin: "RunsPlugin", run: str | None) -> None:
        self.plugin, self.run = plugin, run
        self.shown: tuple[Any, ...] = ()
        self.texts = {name: _text(name) for name in tables.PARTS}
        self.curves = models.ColumnDataSource({name: [] for name in CURVES})
        self.speed = _figure("speed", "stars per second")
        self.rates = _figure("rates", "per cent of the stars of late")
        _draw(self.speed, self.curves, {"speed": ("stars/s", BLUE, 1.0)})
        percent = {
            "novel": ("novel spectra", ORANGE, 100.0),
            "disagree": ("members disagree", PURPLE, 100.0),
        }
        self.percent = models.ColumnDataSource({"time": [], **{name: [] for name in percent}})
        _draw(self.rates, self.percent, percent)

    def roots(self) -> list[Any]:
        return [*self.texts.values(), self.speed, self.rates]

    def update(self) -> None:
        """Show the newest snapshot, if there is a newer one or time has gone on."""
        snapshot = self.plugin.runs.get(self.run or "") or self.plugin.latest()
        if snapshot is None:
            self._put("head", tables.waiting())
            return
        silence = self.plugin.silence(snapshot["run"])
        state = (snapshot["run"], snapshot["version"], snapshot["status"], int(silence))
        if state == self.shown:
            return
        self.shown = state
        others = [run for run in reversed(self.plugin.runs) if run != snapshot["run"]]
        for name, text in tables.render(snapshot, silence, others).items():
            self._put(name, text)
        self._put_curves(snapshot)

    def _put(self, name: str, text: str) -> None:
        if self.texts[name].text != text:
            self.texts[name].text = text

    def _put_curves(self, snapshot: Snapshot) -> None:
        curves = snapshot["curves"]
        if len(curves["time"]) < 2:
            return
        unit, seconds = _time_unit(curves["time"][-1])
        time = [value / seconds for value in curves["time"]]
        percent = {name: [100 * v for v in curves[name]] for name in ("novel", "disagree")}
        self.curves.data = {**curves, "time": time}
        self.percent.data = {"time": time, **percent}
        for plot in (self.speed, self.rates):
            plot.x_range.end = time[-1]
            plot.xaxis.axis_label = f"{unit} since the stage began"
        self.speed.y_range.end = 1.15 * max(*curves["speed"], 1.0)
        self.rates.y_range.end = max(1.3 * max(map(max, percent.values())), 0.1)


def _time_unit(seconds: float) -> tuple[str, float]:
    """The unit in which a time reads well, and how many seconds it has."""
    if seconds < 300:
        return "seconds", 1.0
    return ("minutes", 60.0) if seconds < 3 * 3600 else ("hours", 3600.0)


def _text(name: str) -> Any:
    style = STYLE.read_text(encoding="utf-8")
    return models.Div(name=name, text="", stylesheets=[style], sizing_mode="stretch_width")


def _figure(name: str, title: str) -> Any:
    plot = plotting.figure(
        name=name,
        title=title,
        height=190,
        sizing_mode="stretch_width",
        x_range=models.Range1d(0, 10),
        y_range=models.Range1d(0, 1),
        toolbar_location=None,
        tools="",
        background_fill_color="white",
        border_fill_color="white",
        outline_line_color=None,
    )
    plot.title.text_font_size, plot.title.text_color = "12px", INK
    plot.title.text_font_style = "normal"
    for axis in plot.axis:
        axis.axis_line_color = axis.major_tick_line_color = LINES
        axis.minor_tick_line_color = None
        axis.major_label_text_color = axis.axis_label_text_color = INK
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "11px"
        axis.axis_label_text_font_style = "normal"
        axis.formatter = models.NumeralTickFormatter(format="0,0.[0]")
    plot.xgrid.grid_line_color, plot.ygrid.grid_line_color = None, LINES
    return plot


_LEGEND: dict[str, Any] = {
    "orientation": "horizontal",
    "location": "top_left",
    "padding": 0,
    "margin": 2,
    "label_text_font_size": "11px",
    "border_line_color": None,
    "background_fill_alpha": 0.7,
}


def _draw(plot: Any, source: Any, lines: dict[str, tuple[str, str, float]]) -> None:
    for name, (label, colour, _) in lines.items():
        drawn = plot.line("time", name, source=source, color=colour, line_width=2)
        tips = [(label, f"@{name}{{0,0.[00]}}"), ("after", "@time{0,0.[0]}")]
        plot.add_tools(models.HoverTool(renderers=[drawn], tooltips=tips, mode="vline"))
        if len(lines) > 1:
            if not plot.legend:
                plot.add_layout(models.Legend(**_LEGEND))
            plot.legend[0].items.append(models.LegendItem(label=label, renderers=[drawn]))
