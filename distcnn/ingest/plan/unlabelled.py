"""Stars without labels: the configuration of a training survey serves new stars as well.

Their archive folder has no label table, or a table that serves as labels too has no columns of
labels. Then the survey has none, and that is told with the names that were looked for, because a
misspelt pattern looks the same. A label table that is there and cannot be read stays an error.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from distcnn.config import IngestConfig, LabelsConfig
from distcnn.errors import ColumnMissing, InputError
from distcnn.ingest.readers import Kind, ReadRequest, make_reader
from distcnn.ingest.selection import ArchiveTree, is_left_over, listed


def why_unlabelled(
    tree: ArchiveTree, config: IngestConfig, files: Mapping[Kind, Sequence[Path]]
) -> str:
    """Why no star can have a label, as a sentence; empty if there are labels to read.

    ``files``: those found of every kind; of labels maybe none.
    """
    if config.labels is None:
        return ""
    others = {path for kind, paths in files.items() if kind != "labels" for path in paths}
    if not files["labels"]:
        return _no_file(tree, config.labels, others)
    if others.issuperset(files["labels"]) and not _any_column(config, files["labels"]):
        names = listed([path.name for path in files["labels"]])
        return f"{names} has no column of {', '.join(config.labels.labels)}"
    return ""


def _no_file(tree: ArchiveTree, labels: LabelsConfig, others: set[Path]) -> str:
    patterns = (labels.files,) if isinstance(labels.files, str) else labels.files
    text = f"no file below {tree.root} is called {' or '.join(patterns)}"
    names = [path.relative_to(tree.root).as_posix() for path in tree.files if path not in others]
    unread = [name for name in names if not is_left_over(name)]
    return f"{text}; not read there: {listed(unread)}" if unread else text


def _any_column(config: IngestConfig, paths: Sequence[Path]) -> bool:
    assert config.labels is not None
    return any(_has(config, path, label) for path in paths for label in config.labels.labels)


def _has(config: IngestConfig, path: Path, label: str) -> bool:
    """Whether a file has the column of a label; what is wrong besides is told when it is read."""
    assert config.labels is not None
    reader = make_reader(config.labels, ReadRequest("labels", config.grid, labels=(label,)))
    try:
        next(reader.blocks(path, rows=1), None)
    except ColumnMissing as error:
        identifier = config.labels.columns.get("source_id", "source_id")
        return repr(identifier) in error.problem
    except InputError:
        return True
    return True
