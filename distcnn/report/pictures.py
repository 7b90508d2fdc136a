"""Pictures: figures drawn or taken from results, as files and embedded in the page.

The page embeds a figure as SVG; where that is large as PNG, and with fewer colours where the page
would become too large.
"""

import base64
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure
from PIL import Image

from distcnn.events import Advanced, Listener, Notice
from distcnn.report.blocks import PAGE_PIXELS, Picture
from distcnn.report.data import ReportData
from distcnn.report.figures.registry import ReportFigure, choose_figures
from distcnn.report.results import ENDINGS, Result, ResultFigure
from distcnn.style import SAVED_DPI, UNDATED, style

STAGE = "report"
MAX_EMBEDDED_BYTES = 5_500_000
"""Of all pictures together, before base64 makes them a third larger: the page stays below 10 MB."""
MAX_SVG_BYTES = 600_000
_CSS_PIXELS_PER_INCH = 100
_TYPES = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Drawn:
    """A picture with its section and its files by name; ``forms``: what can be embedded."""

    section: str
    picture: Picture
    files: Mapping[str, bytes]
    forms: Mapping[str, bytes]


def draw_pictures(
    data: ReportData, sections: Collection[str], listener: Listener
) -> Iterator[Drawn]:
    """Figures of these sections that are asked for and that the data allow.

    The listener hears of those that were named in the configuration and cannot be drawn.
    """
    for row in choose_figures(data.config.figures):
        if row.section in sections:
            with style():
                figure = row.draw(data)
                if figure is not None:
                    yield _drawn(row, figure, row.finding(data))
                elif data.config.figures is not None:
                    text = f"figure {row.key!r} is not drawn: it needs {row.needs}"
                    listener(Notice(text, "warning"))
        listener(Advanced(STAGE, 1, row.key))
    for section, result in _results(data):
        if section in sections:
            yield from (_taken(section, result, one) for one in result.figures)


def _drawn(row: ReportFigure, figure: Figure, finding: str) -> Drawn:
    files = {ENDINGS[0]: _saved(figure, ENDINGS[0])}
    # Its panels are laid out now; for every further file it would be done again, for seconds.
    figure.set_layout_engine("none")
    files |= {ending: _saved(figure, ending) for ending in ENDINGS[1:]}
    picture = Picture(row.key, row.title, finding or row.title, row.caption)
    return _with_files(row.section, picture, files)


def _saved(figure: Figure, ending: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=ending, metadata=UNDATED[ending])
    return buffer.getvalue()


def _results(data: ReportData) -> Iterator[tuple[str, Result]]:
    finished = data.finished
    yield from (("checks", one) for one in finished.checks)
    named = {"rivals": finished.rivals, "tsne": finished.tsne, "galaxy": finished.galaxy}
    yield from ((section, one) for section, one in named.items() if one is not None)


def _taken(section: str, result: Result, figure: ResultFigure) -> Drawn:
    key = f"{section}_{result.name}_{figure.name}"
    title = f"{result.name}: {result.verdict}" if section == "checks" else figure.title
    finding = " ".join(result.sentences) or figure.title
    caption = figure.caption + (
        f" It fails from {result.threshold} on." if result.threshold else ""
    )
    picture = Picture(key, title, finding, caption)
    return _with_files(section, picture, figure.files)


def _with_files(section: str, picture: Picture, files: Mapping[str, bytes]) -> Drawn:
    names = {ending: f"figures/{picture.key}.{ending}" for ending in files}
    linked = {ending: name for ending, name in names.items() if ending != "svg"}
    forms = {ending: files[ending] for ending in _TYPES if ending in files}
    return Drawn(
        section,
        replace(picture, files=linked, width=_width(forms)),
        {names[ending]: content for ending, content in files.items()},
        forms,
    )


def _width(forms: Mapping[str, bytes]) -> int:
    """Pixels of CSS across, so that letters are as large in every figure."""
    if "png" not in forms:
        return PAGE_PIXELS
    across, _ = Image.open(io.BytesIO(forms["png"])).size
    return min(PAGE_PIXELS, round(across * _CSS_PIXELS_PER_INCH / SAVED_DPI))


def fitting(drawn: Sequence[Drawn]) -> list[Drawn]:
    """The pictures with the form that is embedded, chosen so that the page stays small."""
    chosen = [_first_choice(one.forms) for one in drawn]
    smaller: set[int] = set()
    while sum(len(content) for _, content in chosen) > MAX_EMBEDDED_BYTES:
        left = [number for number in range(len(chosen)) if number not in smaller]
        if not left:
            break
        largest = max(left, key=lambda number: len(chosen[number][1]))
        smaller.add(largest)
        reduced = _reduced(drawn[largest].forms)
        if reduced is not None and len(reduced) < len(chosen[largest][1]):
            chosen[largest] = ("png", reduced)
    return [
        replace(one, picture=replace(one.picture, uri=_uri(*form)))
        for one, form in zip(drawn, chosen, strict=True)
    ]


def _first_choice(forms: Mapping[str, bytes]) -> tuple[str, bytes]:
    """The drawing of lines, unless it is large and the one of pixels is smaller."""
    if "svg" not in forms or (
        len(forms["svg"]) > MAX_SVG_BYTES and len(forms.get("png", forms["svg"])) < MAX_SVG_BYTES
    ):
        return "png", forms["png"]
    return "svg", forms["svg"]


def _reduced(forms: Mapping[str, bytes]) -> bytes | None:
    """The picture as PNG of 256 colours, a third as large; its file keeps all of them."""
    if "png" not in forms:
        return None
    buffer = io.BytesIO()
    Image.open(io.BytesIO(forms["png"])).convert("RGB").quantize(256).save(buffer, "png")
    return buffer.getvalue()


def _uri(form: str, content: bytes) -> str:
    return f"data:{_TYPES[form]};base64,{base64.b64encode(content).decode()}"
