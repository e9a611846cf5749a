"""The `halosearch` command, also as `python -m halosearch`: what it needs may be missing before it can say anything."""

import sys

from halosearch.errors import missing_package


def main() -> None:
    """Run the command line, or say in a sentence which package it lacks."""
    try:
        from halosearch.cli.main import main as run
    except ImportError as error:
        fault = missing_package(error)
        if fault is None or "--debug" in sys.argv:
            raise
        sys.stderr.write(f"error: {fault.sentence}\nhelp: {fault.hint}\n")
        sys.exit(fault.exit_code)
    run()


if __name__ == "__main__":
    main()
