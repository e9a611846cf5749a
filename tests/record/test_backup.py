"""A journal damaged in any way is put right from its backup, or refused; the damaged file is never lost."""

import json
import random

import pytest

from halosearch.errors import StoreError
from halosearch.record.backup import Backup, backup_of, digest_of, readable, recover, trusted
from halosearch.record.table import Table
from tests.record.test_table import filled


def backed_up(folder):
    store = filled(folder / "j")
    store.back_up(now=True)
    return folder / "j", (folder / "j").read_bytes()


def restore(journal, whole):
    journal.write_bytes(whole)
    for aside in journal.parent.glob("j.damaged-*"):
        aside.unlink()


def test_a_journal_cut_at_random_offsets_comes_back_whole_and_the_cut_file_is_kept(tmp_path):
    journal, whole = backed_up(tmp_path)
    before = Table(journal, create=False, read_only=True).rows()
    chance = random.Random(1)
    for _ in range(25):
        cut = whole[: chance.randrange(len(whole))]
        journal.write_bytes(cut)
        assert recover(journal)
        assert journal.read_bytes() == whole
        assert not cut or (tmp_path / "j.damaged-1").read_bytes() == cut
        assert Table(journal, create=False).rows() == before
        restore(journal, whole)


def test_wrong_bytes_anywhere_are_put_right(tmp_path):
    journal, whole = backed_up(tmp_path)
    chance = random.Random(2)
    for _ in range(25):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        if bytes(damaged) == whole:
            continue
        journal.write_bytes(damaged)
        assert "recovered" in recover(journal)
        assert journal.read_bytes() == whole
        restore(journal, whole)


def test_a_missing_journal_comes_back(tmp_path):
    journal, whole = backed_up(tmp_path)
    journal.unlink()
    assert "missing" in recover(journal)
    assert journal.read_bytes() == whole


def test_what_was_written_after_the_backup_is_kept_as_far_as_it_can_be_read(tmp_path):
    journal, whole = backed_up(tmp_path)
    damaged = b"x" + whole[1:] + b'{"op_code": 1}\n' + b"garb" + b"\n"
    journal.write_bytes(damaged)
    assert "5 bytes" in recover(journal)
    assert journal.read_bytes() == whole + b'{"op_code": 1}\n'


def test_a_whole_journal_is_left_alone_and_its_unfinished_line_to_the_mender(tmp_path):
    journal, whole = backed_up(tmp_path)
    assert recover(journal) == ""
    journal.write_bytes(whole + b'{"op')
    assert recover(journal) == ""
    assert Table(journal, create=False).cut_bytes == 4


def test_two_readable_stories_are_refused_with_both_ways_out(tmp_path):
    journal, whole = backed_up(tmp_path)
    lines = whole.splitlines(keepends=True)
    other = b"".join(json.dumps({"op_code": 99, "n": n, "pad": "p" * 50}).encode() + b"\n" for n in range(len(lines)))
    journal.write_bytes(other)
    with pytest.raises(StoreError, match="different stories") as caught:
        recover(journal)
    assert str(backup_of(journal)) in caught.value.hint
    assert journal.read_bytes() == other


def test_a_backup_that_its_digest_does_not_vouch_for_decides_nothing(tmp_path):
    journal, whole = backed_up(tmp_path)
    backup = backup_of(journal)
    backup.write_bytes(b"?" + backup.read_bytes()[1:])
    assert trusted(journal) is None
    assert recover(journal) == ""
    Backup(journal).follow(now=True)
    assert trusted(journal) == whole


def test_a_backup_cut_short_by_a_crash_is_trusted_as_far_as_its_digest_goes(tmp_path):
    journal, whole = backed_up(tmp_path)
    with backup_of(journal).open("ab") as file:
        file.write(b"half a li")
    assert trusted(journal) == whole
    journal.write_bytes(whole + b'{"a": 1}\n')
    Backup(journal).follow(now=True)
    assert trusted(journal) == whole + b'{"a": 1}\n'
    assert json.loads(digest_of(journal).read_text())["bytes"] == len(whole) + 9


def test_the_backup_follows_every_two_seconds_and_in_whole_lines(tmp_path):
    journal, now = tmp_path / "j", [0.0]
    journal.write_bytes(b"1\n")
    backup = Backup(journal, clock=lambda: now[0])
    backup.follow()
    assert trusted(journal) == b"1\n"
    journal.write_bytes(b"1\n2\n3")
    backup.follow()
    assert trusted(journal) == b"1\n"
    now[0] = 2.5
    backup.follow()
    assert trusted(journal) == b"1\n2\n"


def test_readable_ends_before_the_first_line_that_is_no_json():
    assert readable(b"1\n2\nx\n3\n") == b"1\n2\n"
    assert readable(b"1") == b""
