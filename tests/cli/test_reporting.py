"""`report`, `report A B`, `export`, figures, the generated pages: on the recorded study of this repository."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import markupsafe
import pandas as pd
import pytest

from tests.cli.process import here

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "studies" / "example-20M"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reporting")
    shutil.copytree(EXAMPLE, folder / "studies" / "one")
    shutil.copytree(EXAMPLE, folder / "studies" / "two")
    file = folder / "studies" / "two" / "study.yaml"
    text = file.read_text()
    name = next(line for line in text.splitlines() if line.startswith("name:"))
    file.write_text(text.replace(name, "name: two"))
    return folder


def test_the_same_study_twice_gives_the_same_bytes_and_one_summary_for_page_and_terminal(place, monkeypatch):
    pages = []
    for _ in range(2):
        assert here("report", "one", cwd=place, monkeypatch=monkeypatch).returncode == 0
        pages.append({path.name: path.read_bytes() for path in (place / "reports" / "one").iterdir() if path.is_file()})
    assert pages[0] == pages[1]
    assert set(pages[0]) == {"index.html", "summary.json", "trials.csv"}
    summary = json.loads(pages[0]["summary.json"])
    status = here("status", "one", "--json", cwd=place, monkeypatch=monkeypatch)
    assert json.loads(status.stdout)["answer"] == summary["answer"][:1]
    assert summary["answer"][0].split(":")[0] in pages[0]["index.html"].decode()
    for private in (str(place), str(ROOT), "/home/", "/root/"):
        assert private.encode() not in pages[0]["index.html"] + pages[0]["summary.json"]


def test_the_committed_example_says_what_its_record_says_now(place, monkeypatch):
    here("report", "one", cwd=place, monkeypatch=monkeypatch)
    now = json.loads((place / "reports" / "one" / "summary.json").read_text())
    committed = json.loads((ROOT / "reports" / "example-20M" / "summary.json").read_text())
    for key in ("answer", "front", "decisions", "finals", "counts", "rediscovery", "command"):
        assert committed[key] == now[key], key
    page = (ROOT / "reports" / "example-20M" / "index.html").read_text()
    assert len(page.encode()) < 5_000_000
    assert all(str(markupsafe.escape(sentence)) in page for sentence in now["answer"])


def test_export_is_the_table_of_the_page_in_three_formats(place, monkeypatch):
    here("report", "one", cwd=place, monkeypatch=monkeypatch)
    text = here("export", "one", cwd=place, monkeypatch=monkeypatch).stdout
    assert text == (place / "reports" / "one" / "trials.csv").read_text()
    rows = pd.read_csv(io.StringIO(text))
    document = json.loads(here("export", "one", "--format", "json", cwd=place, monkeypatch=monkeypatch).stdout)
    done = here("export", "one", "--format", "parquet", "--output", "one.parquet", cwd=place, monkeypatch=monkeypatch)
    assert done.returncode == 0, done.stderr
    packed = pd.read_parquet(place / "one.parquet")
    assert list(packed.columns) == list(rows.columns) == list(document[0])
    for name in rows.columns:
        for a, b, c in zip(rows[name], (row[name] for row in document), packed[name], strict=True):
            if pd.isna(a):
                assert b in (None, "")
                assert pd.isna(c) or c == ""
            else:
                assert b == c, name
                # pandas 2 reads a CSV's last digit less well
                assert a == b or float(a) == pytest.approx(float(b), rel=1e-14), name
    assert len(rows) == 31
    assert rows["state"].tolist().count("rival") == 1
    assert rows["seeds"].max() == 2


@pytest.mark.slow
def test_figures_for_print_are_whole_files_with_their_numbers(place, monkeypatch):
    done = here("report", "one", "--figures", "svg,pdf", cwd=place, monkeypatch=monkeypatch)
    assert done.returncode == 0
    folder = place / "reports" / "one" / "figures"
    names = {path.stem for path in folder.glob("*.svg")}
    assert names >= {
        "front",
        "front-macs",
        "front-params",
        "parallel",
        "slices",
        "curves",
        "hypervolume-trials",
        "published",
    }
    assert names == {path.stem for path in folder.glob("*.pdf")} == {path.stem for path in folder.glob("*.csv")}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, content in before.items():
        if name.endswith(".svg"):
            assert content.startswith(b"<?xml")
            assert content.rstrip().endswith(b"</svg>")
        elif name.endswith(".pdf"):
            assert content.startswith(b"%PDF-")
            assert b"/FontFile2" in content  # fonts are in the file
    here("report", "one", "--figures", "svg", cwd=place, monkeypatch=monkeypatch)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    behind = pd.read_csv(folder / "front.csv")
    summary = json.loads((place / "reports" / "one" / "summary.json").read_text())
    front = behind[behind["trace"] == "front"]
    assert sorted(front["y"]) == pytest.approx(
        sorted(t["score"] for t in summary["trials"] if t["trial"] in summary["front"]), rel=1e-14
    )


def test_two_studies_are_compared(place, monkeypatch):
    done = here("report", "one", "two", cwd=place, monkeypatch=monkeypatch)
    assert done.returncode == 0, done.stderr
    assert "cannot be told apart" in done.stdout
    assert "Their inputs are the same." in done.stdout
    page = Path(place / done.stdout.splitlines()[-1].removeprefix("report: "))
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report", "one", "--figures", "png"), "--figures png is unknown"),
        (("report", "one", "one"), "one would be compared with itself"),
        (("report", "one", "three"), "there is no study 'three' here"),
        (("export", "one", "--format", "xlsx"), "--format xlsx is unknown"),
        (("export", "one", "--format", "parquet"), "parquet is no text"),
    ],
)
def test_wrong_words_are_one_sentence(place, monkeypatch, words, said):
    done = here(*words, cwd=place, monkeypatch=monkeypatch)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
    assert "\nhelp: " in done.stderr


def test_the_page_of_all_commands_is_fresh():
    made = subprocess.run(
        [sys.executable, "-m", "typer", "halosearch.cli.main", "utils", "docs", "--name", "halosearch"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert made.stdout.strip() == (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize(
    ("typed", "offered"), [("halosearch fro", {"frontier"}), ("halosearch report ", {"one", "two"})]
)
def test_the_shell_completes_commands_and_studies(place, typed, offered):
    done = subprocess.run(
        [str(Path(sys.executable).parent / "halosearch")],
        capture_output=True,
        text=True,
        cwd=place,
        env=os.environ
        | {"_HALOSEARCH_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))},
        check=False,
    )
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.slow
def test_the_site_has_a_row_and_a_page_for_every_study_and_says_which_cannot_be_read(place, monkeypatch, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(place / "studies" / name, tmp_path / "studies" / name)
    shutil.copytree(ROOT / "studies" / "paper-hybrids", tmp_path / "studies" / "paper-hybrids")
    (tmp_path / "studies" / "broken").mkdir()
    (tmp_path / "studies" / "broken" / "study.yaml").write_text("name: broken\n")
    done = here("report", "--all", "--json", cwd=tmp_path, monkeypatch=monkeypatch)
    rows = {row["name"]: row for row in json.loads(done.stdout)["studies"]}
    assert set(rows) == {"one", "two", "paper-hybrids", "broken"}
    assert "cannot be read" in rows["broken"]["sentence"]
    assert rows["broken"]["link"] is None
    index = (tmp_path / "reports" / "index.html").read_text()
    for name in ("one", "two", "paper-hybrids"):
        assert f'href="{name}/index.html"' in index
        assert (tmp_path / "reports" / rows[name]["link"]).exists()
        assert rows[name]["date"].startswith("2026-")
        assert str(markupsafe.escape(rows[name]["sentence"])) in index
    assert "τ 0.58" in rows["one"]["trust"]
    again = here("report", "--all", "--json", cwd=tmp_path, monkeypatch=monkeypatch)
    assert again.stdout == done.stdout
    assert (tmp_path / "reports" / "index.html").read_text() == index


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no study was named"),
        (["one", "--all"], "stands alone"),
        (["one", "two", "--serve"], "one study's page"),
        (["one", "--serve", "--figures", "svg"], "one study's page"),
    ],
)
def test_what_report_cannot_do_together_is_one_sentence(place, monkeypatch, words, said):
    done = here("report", *words, cwd=place, monkeypatch=monkeypatch)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_port_that_is_taken_is_one_sentence(place, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = here("report", "one", "--serve", "--port", port, cwd=place, monkeypatch=monkeypatch)
    assert done.returncode == 4
    assert f"port {port} of 127.0.0.1 cannot be used" in done.stderr


def test_a_drawing_of_a_network_is_an_svg_file_of_its_own(place, monkeypatch, tmp_path):
    file = tmp_path / "network.svg"
    assert here("show", "one#24", "--figure", str(file), cwd=place, monkeypatch=monkeypatch).returncode == 0
    drawn = ElementTree.fromstring(file.read_text())
    words = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "stage 3: attention" in words
    assert "1 block, 4×4, sees 4×4, 960 channels" in words
    refused = here("show", "h0", "--figure", "network.png", cwd=place, monkeypatch=monkeypatch)
    assert refused.returncode == 2
    assert "network.svg" in refused.stderr
