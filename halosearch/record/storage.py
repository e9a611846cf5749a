"""Where a study's trials are kept, and who may write them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from halosearch.errors import EnvironmentFault, StoreError, UsageError
from halosearch.record.database import Database, shown, url_of
from halosearch.record.folders import Folders
from halosearch.record.journal import hold_study
from halosearch.record.store import Store
from halosearch.record.study_lock import Holder
from halosearch.spec.study import StudySpec


def place_of(spec: StudySpec, folders: Folders) -> Path | Database:
    """The journal in the study's folder, or the study in its database."""
    return folders.journal if spec.storage is None else Database(spec.storage, f"halosearch {spec.name}")


@contextlib.contextmanager
def held(spec: StudySpec, folders: Folders) -> Iterator[Holder | None]:
    """Be the one driver of a study, on this machine and, with a database, on any.

    Raises:
        StoreError: another process drives it.
    """
    lock = hold_study(folders.study)
    try:
        place = place_of(spec, folders)
        holder = Holder(url_of(place.url), place.study) if isinstance(place, Database) else None
        try:
            yield holder
        finally:
            if holder is not None:
                holder.release()
    finally:
        lock.release()


def open_for_writing(
    spec: StudySpec, folders: Folders, holder: Holder | None, tell: Callable[[str], None], *, begun: bool, mine: bool
) -> Store:
    """The record, mended, or made where the study begins. `mine`: an earlier run wrote this folder's study.yaml.

    Raises:
        StoreError: it is damaged, missing, or another study's.
    """
    place = place_of(spec, folders)
    if isinstance(place, Path):
        store = Store(place, create=not begun, tell=tell)
    else:
        if folders.journal.exists():
            raise UsageError(f"the trials of {spec.name!r} are kept in {folders.journal}", "leave --storage out")
        if begun and "inputs" not in Store(place, create=False, read_only=True).notes():
            raise StoreError(
                f"the database {shown(place.url)} does not hold the study {spec.name!r}",
                "give the --storage that it was begun with, or restore the database",
            )
        store = Store(place, create=True, tell=tell)
        if holder is not None:
            store.held_by(holder.renew, holder.cut)
        if not mine and "inputs" in store.notes():
            raise StoreError(
                f"the database holds a study named {spec.name!r} already, and {folders.study} is not its folder",
                "choose another --name, or continue it from its own folder",
            )
    return store


def open_for_reading(spec: StudySpec, folders: Folders) -> Store:
    """The record as it is; a driver may be writing."""
    return Store(place_of(spec, folders), create=False, read_only=True)


def is_driven(spec: StudySpec, folders: Folders) -> bool:
    """Whether a process drives the study."""
    lock = FileLock(folders.study / "driver.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    place = place_of(spec, folders)
    if isinstance(place, Database):
        with contextlib.suppress(EnvironmentFault):
            try:
                Holder(url_of(place.url), place.study).release()
            except StoreError:
                return True
    return False
