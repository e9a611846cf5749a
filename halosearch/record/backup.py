"""A second copy of a journal, appended to while the study runs, and what is made of a damaged journal with it.

A journal only ever grows, so its backup is a prefix of it. A digest beside the backup says whether the backup itself is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from halosearch.errors import StoreError
from halosearch.files import write_bytes, write_text

EVERY_S = 2.0
DAMAGE_SHARE = 0.01
"""A journal that differs from its backup in more of its bytes was written by somebody else."""


def backup_of(journal: Path) -> Path:
    """The backup's file."""
    return journal.with_name(f"{journal.name}.backup")


def digest_of(journal: Path) -> Path:
    """The file with the backup's length and digest."""
    return journal.with_name(f"{journal.name}.backup.json")


class Backup:
    """Follows a journal that this process writes."""

    def __init__(self, journal: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Go on from the backup that is there, if it is whole and of this journal; else begin anew."""
        self._journal, self._clock, self._last = journal, clock, float("-inf")
        content = trusted(journal)
        if content is None or not journal.read_bytes().startswith(content):
            content = b""
            backup_of(journal).unlink(missing_ok=True)
        self._size, self._digest = len(content), hashlib.sha256(content)

    def follow(self, *, now: bool = False) -> None:
        """Append what the journal has gained in whole lines; at most every two seconds unless `now`."""
        if not now and self._clock() - self._last < EVERY_S:
            return
        self._last = self._clock()
        with self._journal.open("rb") as file:
            file.seek(self._size)
            gained = file.read()
        gained = gained[: gained.rfind(b"\n") + 1]
        if not gained:
            return
        with backup_of(self._journal).open("ab") as file:
            file.truncate(self._size)
            file.write(gained)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(gained)
        self._digest.update(gained)
        write_text(digest_of(self._journal), json.dumps({"bytes": self._size, "sha256": self._digest.hexdigest()}))


def trusted(journal: Path) -> bytes | None:
    """The backup's content as far as its digest vouches for it; None where it does not."""
    try:
        said = json.loads(digest_of(journal).read_text())
        content = backup_of(journal).read_bytes()[: int(said["bytes"])]
        whole = hashlib.sha256(content).hexdigest() == said["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if whole and content else None


def recover(journal: Path) -> str:
    """Put a damaged or missing journal right from its backup; the damaged file is kept aside. Call under `hold_study`.

    Returns what was done, in words; empty where nothing had to be.

    Raises:
        StoreError: journal and backup are both readable and tell different stories.
    """
    kept = trusted(journal)
    if kept is None:
        return ""
    found = journal.read_bytes() if journal.exists() else b""
    tail = found[len(kept) :]
    if found.startswith(kept):
        if readable(tail) == tail[: tail.rfind(b"\n") + 1]:
            return ""
    elif not _is_damage(found, kept):
        raise StoreError(
            f"the store {journal} and its backup tell different stories",
            f"to go on with the store as it is, delete {backup_of(journal)}; to go back to the backup, delete the store",
        )
    good = readable(tail) if found[len(kept) - 1 : len(kept)] == b"\n" else b""
    aside = _keep_aside(journal) if found else None
    write_bytes(journal, kept + good)
    lost = len(tail) - len(good)
    return (
        f"the store was {'damaged' if aside else 'missing'} and is recovered from its backup"
        + (f"; {lost:,} bytes written after the backup could not be read" if lost else "")
        + (f"; the damaged file is kept as {aside.name}" if aside else "")
    )


def _is_damage(found: bytes, kept: bytes) -> bool:
    """Whether a journal that does not begin like its backup was cut, or has some wrong bytes, but is no other journal."""
    length = min(len(found), len(kept))
    if len(found) < len(kept) and kept.startswith(found):
        return True
    differ = int((np.frombuffer(found[:length], np.uint8) != np.frombuffer(kept[:length], np.uint8)).sum())
    return differ <= max(1, DAMAGE_SHARE * length) or readable(found) != found[: found.rfind(b"\n") + 1]


def readable(content: bytes) -> bytes:
    """The whole lines at the beginning that are JSON."""
    end = 0
    for line in content.split(b"\n")[:-1]:
        try:
            json.loads(line)
        except ValueError:
            break
        end += len(line) + 1
    return content[:end]


def _keep_aside(journal: Path) -> Path:
    number = 1
    while (aside := journal.with_name(f"{journal.name}.damaged-{number}")).exists():
        number += 1
    journal.rename(aside)
    return aside
