"""How commands end: few lines, the answer first."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from halosearch.cli.last_words import MOST, brief, say_answer
from halosearch.report.reading import open_study, rewrite_report, summary_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study():
    return summary_of(open_study(ROOT, "studies/example-20M"))


def test_a_study_ends_in_eight_lines_with_the_next_command(study):
    said = io.StringIO()
    with redirect_stdout(said):
        say_answer(study, Path("page.html"), verbose=False)
    lines = said.getvalue().splitlines()
    assert len(lines) == MOST
    assert lines[0] == study["headline"]["sentence"]
    assert lines[-1] == "report: page.html"
    trust, cost = (next(n for n, line in enumerate(lines) if line.startswith(word)) for word in ("Trust", "It cost"))
    assert 0 < trust < cost


def test_verbose_says_every_sentence(study):
    said = io.StringIO()
    with redirect_stdout(said):
        say_answer(study, Path("page.html"), verbose=True)
    assert said.getvalue().splitlines()[:-1] == study["answer"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper-window", "paper-hybrids", "own-activations", "ladder"])
def test_so_do_experiments_and_ladders(name, tmp_path):
    from dataclasses import replace

    from halosearch.record.folders import Folders

    opened = open_study(ROOT, f"studies/{name}", experiments=True)
    summary, page = rewrite_report(replace(opened, folders=Folders(opened.folders.study, tmp_path)))
    lines = brief(summary)
    assert len(lines) < MOST
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["answer"] == summary["answer"]
    for line in lines:
        assert (
            line in page.read_text().replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'")
            or "(" in line
            or "--verbose" in line
        )
