"""The lock on a study in a database: one driver, whatever machine it runs on."""

from __future__ import annotations

import contextlib
import hashlib
import time
from typing import Any

import sqlalchemy
from sqlalchemy.engine import URL

from halosearch.errors import EnvironmentFault, StoreError
from halosearch.record.address import shown
from halosearch.record.database import POSTGRES_ARGUMENTS, shut, words_of

LOCK_ARGUMENTS = POSTGRES_ARGUMENTS | {
    "options": "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
}
OWN_GHOST_S = 40.0
"""How long the lock of a connection of ours that was cut may outlive it."""


class StudyLock:
    """Keeps a second driver of the same study out, through the database itself; freed when this process ends."""

    def __init__(self, url: URL, study: str) -> None:
        """Take the lock.

        Raises:
            StoreError: another driver has it.
            EnvironmentFault: nobody answers.
        """
        self._url, self._study = url, study
        self._connection: Any = None
        self._key = int.from_bytes(hashlib.sha256(study.encode()).digest()[:8], "big", signed=True)
        try:
            self._take(patience_s=1.0)
        except sqlalchemy.exc.OperationalError as error:
            raise EnvironmentFault(
                f"the database {shown(str(url))} cannot be used: {words_of(error)}",
                "check its address; a password belongs into ~/.pgpass or PGPASSWORD",
            ) from error

    def renew(self) -> None:
        """Take the lock again where the server has restarted.

        Raises:
            StoreError: another driver took it meanwhile.
        """
        if not self._held():
            self._take(patience_s=OWN_GHOST_S)

    def _take(self, patience_s: float) -> None:
        if self._url.get_backend_name() != "postgresql":
            return
        import psycopg

        self.release()
        address = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        end = time.monotonic() + patience_s
        try:
            self._connection = psycopg.connect(address, autocommit=True, **LOCK_ARGUMENTS)
            while not self._connection.execute("select pg_try_advisory_lock(%s)", (self._key,)).fetchone()[0]:
                if time.monotonic() > end:
                    break
                time.sleep(0.2)
            else:
                return
        except psycopg.OperationalError as error:
            self.release()
            raise sqlalchemy.exc.OperationalError("connect", None, error) from error
        self.release()
        raise StoreError(
            f"another process is running the study {self._study!r} of this database",
            "watch it with: halosearch status, or choose another --name",
        )

    def cut(self) -> None:
        """End the connection, where the server hangs."""
        if self._connection is not None:
            shut(self._connection)

    def _held(self) -> bool:
        if self._url.get_backend_name() != "postgresql":
            return True
        if self._connection is None:
            return False
        with contextlib.suppress(Exception):
            self._connection.execute("select 1")
            return True
        return False

    def release(self) -> None:
        """Let the next one in."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
