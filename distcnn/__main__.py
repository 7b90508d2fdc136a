"""``python -m distcnn``, and the ``distcnn`` command.

Signals are taken care of before anything else is imported: Ctrl-C may come at any moment.
"""

from distcnn import stopping


def main() -> None:
    """Run the command line."""
    stopping.install()
    from distcnn import cli

    cli.main()


if __name__ == "__main__":
    main()
