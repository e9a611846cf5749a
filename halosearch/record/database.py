"""A study's trials in a database: opened once at a time, asked again after an outage, held by one driver.

PostgreSQL is what was tried; SQLite works on a local disk. Of other databases Optuna's word is taken, and nothing but the lock in
the study's folder keeps a second driver out.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import optuna
import psutil
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from sqlalchemy.engine import URL, make_url

from halosearch.errors import EnvironmentFault, StoreError, UsageError
from halosearch.record.address import MARK, Database, shown

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "beegfs",
        "gpfs",
        "fuse.sshfs",
    }
)
PATIENCE_S = 300.0
HANG_S = 30.0
"""A call that takes longer has its connection cut: a frozen server never answers, and its kernel keeps the connection up."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
SURE_S = 1.0
OPENING_KEY = 4711
"""Whoever creates the tables holds this lock: Optuna's own creation fails when two begin at once."""
POSTGRES_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": "-c statement_timeout=20s -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s",
}
TRANSIENT = (
    optuna.exceptions.StorageInternalError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.PendingRollbackError,
    sqlalchemy.exc.InternalError,
)
Result = TypeVar("Result")


def url_of(text: str) -> URL:
    """A database's address.

    Raises:
        UsageError: it is none, or its driver is not installed.
    """
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
        if url.drivername == "postgresql":  # which SQLAlchemy 2.0 takes for a driver that is not ours
            url = url.set(drivername="postgresql+psycopg")
        url.get_dialect().import_dbapi()
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise UsageError(
            f"--storage {shown(text)} is no address of a database", "for example postgresql://user@host/database"
        ) from error
    except ImportError as error:
        raise UsageError(
            f"the driver of {shown(text)} is not installed ({error.name})", "pip install 'halosearch[postgres]'"
        ) from error
    return url


def carries_a_password(text: str) -> bool:
    """Whether writing an address down would give a password away."""
    try:
        url = make_url(text)
    except sqlalchemy.exc.ArgumentError:
        return False
    return url.password is not None or "password" in url.query


def refuse_network_file(path: Path, file_system: Callable[[Path], str] | None = None) -> None:
    """SQLite's locks do not hold on network file systems.

    Raises:
        StoreError: the file would lie on one.
    """
    kind = (file_system or file_system_of)(path)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"{path} lies on a network file system ({kind}), where SQLite loses data",
            "use PostgreSQL, or leave --storage out: the study's own file has one writer and is safe there",
        )


def file_system_of(path: Path) -> str:
    """The type of the file system that a path lies on."""
    path, best, kind = path.absolute(), -1, ""
    for partition in psutil.disk_partitions(all=True):
        if path.is_relative_to(partition.mountpoint) and len(partition.mountpoint) > best:
            best, kind = len(partition.mountpoint), partition.fstype
    return kind


class OnceStorage(RDBStorage):
    """Adds a marked trial once, whatever becomes of the answer.

    Optuna repeats the insertion when the answer to a commit is lost, and the trial is then there twice. The lookup runs under the
    lock on the study that the insertion takes. The method is not part of Optuna's public interface; a test holds it.
    """

    def _get_prepared_new_trial(self, study_id: int, template_trial: Any, session: Any) -> Any:
        mark = None if template_trial is None else template_trial.user_attrs.get(MARK)
        if mark is not None:
            known = (
                session.query(models.TrialModel)
                .join(models.TrialUserAttributeModel)
                .filter(models.TrialModel.study_id == study_id)
                .filter(models.TrialUserAttributeModel.key == MARK)
                .filter(models.TrialUserAttributeModel.value_json == f'"{mark}"')
                .one_or_none()
            )
            if known is not None:
                return known
        return super()._get_prepared_new_trial(study_id, template_trial, session)


@dataclass(slots=True)
class Patient:
    """Calls that outlive an outage: repeated for five minutes; every call that halosearch makes may be repeated.

    `again`: called before a call whenever a second has passed, and before every repetition: it makes sure of the driver's lock.
    `cut_too`: cuts what else may hang in a frozen server.
    """

    engine: Any
    again: Callable[[], None] = lambda: None
    cut_too: Callable[[], None] = lambda: None
    patience_s: float = PATIENCE_S
    hang_s: float = HANG_S
    tell: Callable[[str], None] = lambda _: None
    _live: dict[int, Any] = field(default_factory=dict)
    _sure: float = float("-inf")

    def __post_init__(self) -> None:
        """Know every connection, so that a hanging one can be cut."""
        self.engine.pool.dispose()
        sqlalchemy.event.listen(self.engine, "connect", lambda c, _: self._live.__setitem__(id(c), c))
        sqlalchemy.event.listen(self.engine, "close", lambda c, _: self._live.pop(id(c), None))

    def __call__(self, call: Callable[..., Result], *args: Any, **options: Any) -> Result:
        """Call, and call again until it works.

        Raises:
            EnvironmentFault: it did not work for five minutes.
        """
        end, wait, told = time.monotonic() + self.patience_s, FIRST_WAIT_S, False
        while True:
            timer = threading.Timer(self.hang_s, self._cut)
            timer.daemon = True
            timer.start()
            try:
                if told or time.monotonic() - self._sure > SURE_S:  # nothing is written before the study is held again
                    self.again()
                    self._sure = time.monotonic()
                return call(*args, **options)
            except TRANSIENT as error:
                if time.monotonic() + wait > end:
                    raise EnvironmentFault(
                        f"the database has not answered for {self.patience_s / 60:.0f} minutes: {words_of(error)}",
                        "run the same command again once it is back; nothing recorded is lost",
                    ) from error
                if not told:
                    self.tell(f"the database does not answer ({words_of(error)}); asking again")
                    told = True
            finally:
                timer.cancel()
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _cut(self) -> None:
        for connection in list(self._live.values()):
            shut(connection)
        self.cut_too()


def shut(connection: Any) -> None:
    """End a connection that may hang; whoever waits for it gets an error at once."""
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def words_of(error: BaseException) -> str:
    """What the driver said; Optuna's own words speak of invalid data."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ else error
    if isinstance(cause, sqlalchemy.exc.PendingRollbackError):
        return "its connection was lost"
    inner = getattr(cause, "orig", None) or cause
    return (str(inner).strip().splitlines() or [type(inner).__name__])[0][:200]


def open_database(database: Database, *, tell: Callable[[str], None] = lambda _: None) -> tuple[OnceStorage, Patient]:
    """The storage behind a URL, its tables made where they are absent; and how to call it.

    Raises:
        UsageError: no such database, or no driver.
        StoreError: a file that would lie on a network file system.
        EnvironmentFault: nobody answers.
    """
    url = url_of(database.url)
    postgres = url.get_backend_name() == "postgresql"
    if url.get_backend_name() == "sqlite" and url.database:
        refuse_network_file(Path(url.database))
    options: dict[str, Any] = {"pool_pre_ping": True}
    if postgres:
        options["connect_args"] = POSTGRES_ARGUMENTS
    address = url.render_as_string(hide_password=False)
    try:
        with _alone(url) if postgres else contextlib.nullcontext():
            storage = OnceStorage(address.replace("{", "%7B").replace("}", "%7D"), engine_kwargs=options)
    except TRANSIENT as error:
        raise EnvironmentFault(
            f"the database {shown(database.url)} cannot be used: {words_of(error)}",
            "check its address; a password belongs into ~/.pgpass or PGPASSWORD",
        ) from error
    return storage, Patient(storage.engine, tell=tell)


@contextlib.contextmanager
def _alone(url: URL) -> Any:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"select pg_advisory_lock({OPENING_KEY})"))
        connection.commit()
        yield
