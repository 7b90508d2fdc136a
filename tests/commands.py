"""Commands as a user types them, in the process of the tests."""

from typer.testing import CliRunner

from distcnn.cli import app


def distcnn(*words):
    return CliRunner().invoke(app, list(map(str, words)))


def done(*words):
    result = distcnn(*words)
    assert result.exit_code == 0, result.output
    return result.output
