"""Where a study's rows are kept, and who may write them."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from halosearch.errors import EnvironmentFault, StoreError, UsageError
from halosearch.record.address import Database, shown
from halosearch.record.folders import Folders
from halosearch.record.journal import hold_study
from halosearch.record.table import Table
from halosearch.spec.study import StudySpec

if TYPE_CHECKING:
    from halosearch.record.study_lock import StudyLock


def place_of(spec: StudySpec, folders: Folders) -> Path | Database:
    """The journal in the study's folder, or the study in its database."""
    return folders.journal if spec.storage is None else Database(spec.storage, f"halosearch {spec.name}")


def check_address(storage: str | None) -> None:
    """Refuse an address that is none, or that would write a password into study.yaml.

    Raises:
        UsageError: what is wrong with it.
    """
    if storage is None:
        return
    from halosearch.record.database import carries_a_password, url_of

    if carries_a_password(storage):
        raise UsageError(
            "the address of the storage carries a password, and study.yaml would show it",
            "leave it out and put it into ~/.pgpass or PGPASSWORD",
        )
    url_of(storage)


@contextlib.contextmanager
def held(spec: StudySpec, folders: Folders) -> Iterator[StudyLock | None]:
    """Be the one driver of a study, on this machine and, with a database, on any.

    Raises:
        StoreError: another process drives it.
    """
    lock = hold_study(folders.study)
    try:
        place = place_of(spec, folders)
        remote = _remote_lock(place) if isinstance(place, Database) else None
        try:
            yield remote
        finally:
            if remote is not None:
                remote.release()
    finally:
        lock.release()


def _remote_lock(place: Database) -> StudyLock:
    from halosearch.record.database import url_of  # SQLAlchemy: not for journals
    from halosearch.record.study_lock import StudyLock

    return StudyLock(url_of(place.url), place.study)


def open_for_writing(
    spec: StudySpec, folders: Folders, lock: StudyLock | None, tell: Callable[[str], None], *, begun: bool, mine: bool
) -> Table:
    """The record, mended, or made where the study begins. `mine`: an earlier run wrote this folder's study.yaml.

    Raises:
        StoreError: it is damaged, missing, or another study's.
    """
    place = place_of(spec, folders)
    if isinstance(place, Path):
        return Table(place, create=not begun, tell=tell)
    if folders.journal.exists():
        raise UsageError(f"the trials of {spec.name!r} are kept in {folders.journal}", "leave --storage out")
    if begun and "inputs" not in Table(place, create=False, read_only=True).facts():
        raise StoreError(
            f"the database {shown(place.url)} does not hold the study {spec.name!r}",
            "give the --storage that it was begun with, or restore the database",
        )
    table = Table(place, create=True, tell=tell)
    if lock is not None:
        table.held_by(lock.renew, lock.cut)
    if not mine and "inputs" in table.facts():
        raise StoreError(
            f"the database holds a study named {spec.name!r} already, and {folders.study} is not its folder",
            "choose another --name, or continue it from its own folder",
        )
    return table


def open_for_reading(spec: StudySpec, folders: Folders) -> Table:
    """The record as it is; a driver may be writing."""
    return Table(place_of(spec, folders), create=False, read_only=True)


def is_driven(spec: StudySpec, folders: Folders) -> bool:
    """Whether a process drives the study; asking writes nothing, so that a folder that cannot be written can be read."""
    with contextlib.suppress(FileNotFoundError), (folders.study / "driver.lock").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    place = place_of(spec, folders)
    if isinstance(place, Database):
        with contextlib.suppress(EnvironmentFault):
            try:
                _remote_lock(place).release()
            except StoreError:
                return True
    return False
