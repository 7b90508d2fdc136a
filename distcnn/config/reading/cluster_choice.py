"""``--cluster NAME``: a preset of ``conf/clusters``, a YAML file, or the address of a scheduler.

Presets and files are configurations with the sections ``cluster`` and ``resources``. They stand
below the user's own file: what that says of these sections goes before.
"""

from pathlib import Path
from typing import Any

from distcnn.config.reading.yaml_file import conf_folder, read_yaml
from distcnn.config.run import cluster_model
from distcnn.errors import ConfigError
from distcnn.formatting import did_you_mean

SECTIONS = ("cluster", "resources")
"""What a file for ``--cluster`` may have."""
Places = dict[str, str]


def put_below(tree: dict[str, Any], places: Places, choice: str) -> tuple[dict[str, Any], Places]:
    """The sections of a configuration, with those of a cluster below them, and all their places.

    Where the configuration is for another backend only those of its keys count that the chosen
    backend has too.

    Raises
    ------
    ConfigError : nothing is known by that name, or the file cannot be used.
    """
    below, below_places = _chosen(choice)
    backend = below["cluster"]["backend"]
    merged = {**below, **tree}
    for name in SECTIONS:
        own = tree.get(name)
        if isinstance(own, dict):
            own = _for_backend(own, backend) if name == "cluster" else own
            merged[name] = {**below.get(name, {}), **own}
        elif own is None and name in below:
            merged[name] = below[name]
    return merged, {**below_places, **places}


def presets() -> list[str]:
    """Names of the clusters that come with distcnn."""
    return sorted(file.stem for file in (conf_folder() / "clusters").glob("*.yaml"))


def _for_backend(section: dict[str, Any], backend: str) -> dict[str, Any]:
    others = section.get("backend", backend) != backend
    known = _model(backend, f"--cluster {backend}").model_fields
    kept = {key: value for key, value in section.items() if key in known or not others}
    return {**kept, "backend": backend}


def _chosen(choice: str) -> tuple[dict[str, Any], Places]:
    """The sections of what was chosen; ``cluster.backend`` is one that is known."""
    path = _file_of(choice)
    if path is None:
        _model(choice, f"--cluster {choice}")
        return {"cluster": {"backend": choice}}, {"cluster.backend": f"--cluster {choice}"}
    tree, places = read_yaml(path)
    section = tree.get("cluster")
    backend = section.get("backend") if isinstance(section, dict) else None
    if not isinstance(backend, str) or not tree.keys() <= set(SECTIONS):
        raise ConfigError(
            f"{path} has {', '.join(map(repr, tree)) or 'nothing'}",
            expected="the section cluster with a key backend, and resources if it likes",
            cure="Give other sections by --conf.",
        )
    _model(backend, places["cluster.backend"])
    return tree, places


def _file_of(choice: str) -> Path | None:
    """The file that is meant, None if it is an address or a backend without a preset."""
    if "://" in choice:
        return None
    path = Path(choice)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if path.is_file():
            return path
        raise ConfigError(
            f"there is no cluster file {choice!r}",
            expected=f"a YAML file, or one of {', '.join(presets())}",
            cure=did_you_mean(path.stem, presets()),
        )
    preset = conf_folder() / "clusters" / f"{choice}.yaml"
    if preset.is_file():
        return preset
    return path if path.is_file() else None


def _model(backend: str, where: str) -> Any:
    try:
        return cluster_model(backend)
    except ValueError as error:
        raise ConfigError(
            f"{where}: there is no cluster {backend!r}", expected=f"a YAML file, {error}"
        ) from None
