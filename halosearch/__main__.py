"""`python -m halosearch` is the `halosearch` command."""

from halosearch.cli.main import main

if __name__ == "__main__":
    main()
