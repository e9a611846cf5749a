"""`python -m halosearch` is the `halosearch` command."""

from halosearch.cli.main import main

main()
