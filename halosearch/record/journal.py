"""Optuna's journal file, mended before it is opened and locked so that a killed holder never blocks the next.

A process or disk that stops in the middle of a line leaves a journal that Optuna 5 can open once and then never again: the
next append is glued to the half line. So the unterminated last line is cut before opening.
"""

from __future__ import annotations

import errno
import json
import shlex
import time
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from halosearch.errors import StoreError
from halosearch.record.backup import trusted

DEAD_LINK_S = 30.0


class ProcessLock:
    """A lock that the operating system releases when its holder dies (Optuna's own waits 30 s for a dead holder)."""

    def __init__(self, journal: Path) -> None:
        """The lock lies beside the journal."""
        self._link = Path(f"{journal}.lock")
        self._lock = FileLock(self._link)

    def acquire(self) -> bool:
        """Wait for the lock; where Optuna's dashboard writes, its lock is a link in this place, which it takes away again."""
        began = time.monotonic()
        while True:
            try:
                self._lock.acquire()
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.EEXIST):
                    raise
                if time.monotonic() - began > DEAD_LINK_S:  # its holder is gone; Optuna's own clients wait as long
                    self._link.unlink(missing_ok=True)
                time.sleep(0.01)
            else:
                return True

    def release(self) -> None:
        """Let the next one in."""
        self._lock.release()


def hold_study(folder: Path) -> FileLock:
    """Become the one driver of a study until the lock is released or the process ends.

    Raises:
        StoreError: another process drives the study.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "driver.lock")
    try:
        lock.acquire(timeout=1.0)  # a reader looks for a moment whether somebody drives
    except Timeout:
        raise StoreError(
            f"another process is running the study {folder.name!r}",
            f"watch it with: halosearch status {shlex.quote(str(folder))}",
        ) from None
    return lock


def check(journal: Path) -> int:
    """Length of an unterminated last line, 0 where the journal is whole or absent.

    Raises:
        StoreError: a line inside the journal is no JSON: it was damaged by something else than an interruption.
    """
    if not journal.exists():
        return 0
    lines = journal.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            json.loads(line)
        except ValueError:
            raise StoreError(
                f"the store {journal} is damaged at line {number}",
                f"halosearch study {shlex.quote(str(journal.parent))} recovers it from its backup"
                if trusted(journal)
                else "restore the file from a backup, or start anew under another --name",
            ) from None
    return len(lines[-1])


def mend(journal: Path) -> int:
    """Cut an unterminated last line; returns the bytes cut. Call under `hold_study`.

    Raises:
        StoreError: as `check`.
    """
    cut = check(journal)
    if cut:
        with journal.open("rb+") as file:
            file.truncate(journal.stat().st_size - cut)
    return cut


def open_storage(journal: Path) -> JournalStorage:
    """The Optuna storage in `journal`, created where it is absent."""
    lock = ProcessLock(journal)  # Optuna asks for acquire and release only
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))  # type: ignore[arg-type]
