"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Candidate = Annotated[
    str,
    typer.Argument(help="h0..h7, halonet50, dials (s=384,b=12,h=2,rb=3,l3=12), a YAML file of dials, or STUDY#trial."),
]
Json = Annotated[
    str,
    typer.Option(
        "--json",
        metavar="",
        help="Print one JSON document instead of text (--json=lines: events as lines).",
        show_default=False,
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="End with every sentence of the answer instead of the shortest.")
]
Root = Annotated[Path, typer.Option("--dir", help="Folder that holds studies/ and reports/.")]


def study_names(incomplete: str) -> list[str]:
    """Studies under the current folder, for the shell's completion."""
    return sorted(
        path.parent.name for path in Path("studies").glob("*/study.yaml") if path.parent.name.startswith(incomplete)
    )


Study = Annotated[str, typer.Argument(help="A study's name, or the path of its folder.", autocompletion=study_names)]
