"""Tables of text."""

from collections.abc import Iterator, Sequence

from distcnn.schema import LABELS


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> Iterator[str]:
    """One line per row, the first one the head; columns in ``left`` begin alike, others end so."""
    widths = [max(len(line[n]) for line in rows) for n in range(len(rows[0]))]
    for line in rows:
        cells = (
            text.ljust(width) if n in left else text.rjust(width)
            for n, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def title(name: str) -> str:
    """A label with its unit."""
    unit = LABELS[name].unit if name in LABELS else ""
    return f"{name} [{unit}]" if unit else name
