"""The lines that a study prints to go on with it are parsed back."""

import shlex
from pathlib import Path

import pytest

from halosearch.record.folders import called, find_study


@pytest.mark.parametrize("place", ["studies/20M", "studies/other name", "moved", "kept; here/it's"])
@pytest.mark.parametrize("inside", [True, False])
def test_what_a_study_is_called_leads_back_to_it(tmp_path, monkeypatch, place, inside):
    """Under studies/ by its folder's name, whatever its file says; elsewhere by its path."""
    folder = tmp_path / "a b" / place
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text("name: 20M\n")
    monkeypatch.chdir(tmp_path / "a b" if inside else tmp_path)
    root = Path() if inside or not place.startswith("studies") else tmp_path / "a b"
    found = find_study(root, folder.name if place.startswith("studies") else str(folder))
    name, *more = shlex.split(called(found))
    assert more == ([] if inside or not place.startswith("studies") else ["--dir", str(tmp_path / "a b")])
    again = find_study(Path(more[1]) if more else Path(), name)
    assert again.study.resolve() == folder.resolve()
    assert again.report.resolve() == found.report.resolve()


def test_the_page_of_a_moved_study_stays_where_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "study.yaml").write_text("name: 20M\n")
    found = find_study(Path("out"), "moved")
    name, option, root = shlex.split(called(found))
    assert option == "--dir"
    assert find_study(Path(root), name) == found
