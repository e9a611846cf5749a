"""Tables of losses as users have them: rows of one training, of none, twice; each is read as what it is, or refused."""

import numpy as np
import pytest

from halosearch.errors import UsageError
from halosearch.run.losses import read_losses
from tests.cli.process import error_of, here

ROWS = [(4e6 * 2**n, 1000, 0.9 - 0.1 * n) for n in range(4)]


def table(path, rows, run=None):
    head = "params,images,loss" + ("" if run is None else ",run")
    lines = [
        ",".join(map(str, row)) + ("" if run is None else f",{name}")
        for row, name in zip(rows, run or rows, strict=True)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([head, *lines]) + "\n")
    return str(path)


def runs(*paths, root):
    return read_losses(paths, root, cooled=True).losses.runs_R


def test_rows_without_a_run_are_trainings_of_their_own(tmp_path):
    found = runs(table(tmp_path / "l.csv", ROWS, ["a", "", "a", ""]), root=tmp_path)
    assert len(set(found)) == 3
    assert found[0] == found[2]
    assert len(set(runs(table(tmp_path / "m.csv", ROWS, [""] * 4), root=tmp_path))) == 4
    assert len(set(runs(table(tmp_path / "n.csv", ROWS), root=tmp_path))) == 4


def test_files_of_one_name_are_not_mixed_and_none_counts_twice(tmp_path):
    one, other = (table(tmp_path / folder / "l.csv", ROWS, list("aabb")) for folder in ("one", "other"))
    assert len(set(runs(one, other, root=tmp_path))) == 4
    with pytest.raises(UsageError, match="is named twice"):
        runs(one, str(tmp_path / "other" / ".." / "one" / "l.csv"), root=tmp_path)


def test_a_row_that_is_there_twice_is_no_second_training(tmp_path):
    with pytest.raises(UsageError, match="data row 5 says the same as one before it"):
        runs(table(tmp_path / "l.csv", [*ROWS, ROWS[1]]), root=tmp_path)
    assert len(runs(table(tmp_path / "m.csv", [*ROWS, ROWS[1]], list("abcde")), root=tmp_path)) == 5


def test_a_fit_forecasts_what_is_asked_for(tmp_path, monkeypatch):
    rows = [
        (n, 1000 * 2**k, round(0.3 + 30 * n**-0.3 + 0.0002 * k, 5))
        for n in np.geomspace(4e6, 64e6, 6).round()
        for k in range(2)
    ]
    done = here("fit", table(tmp_path / "l.csv", rows), "--params", "128M", cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.returncode == 0, done.stderr
    assert "at 128 M parameters" in done.stdout


@pytest.mark.parametrize(
    ("more", "flag"), [(["--seed", "0"], "--seed"), (["--family", "halonet"], "--family"), (["--name", "x"], "--name")]
)
def test_what_only_a_new_ladder_can_be_told_is_refused(tmp_path, monkeypatch, more, flag):
    assert f"{flag} is of a new ladder" in error_of(here("ladder", "lad", *more, cwd=tmp_path, monkeypatch=monkeypatch))
    star = ["ladder", "--star", "s=64,b=8,h=2,rb=2,l3=4", "--vary", "l3=1,2,4,8", "--family", "efficientnet"]
    assert "a star is of HaloNets" in error_of(here(*star, cwd=tmp_path, monkeypatch=monkeypatch))
