"""A PostgreSQL server of one's own: made, started, stopped, frozen and killed by a script (Debian's package, no service)."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

START_S = 60.0
STOP_S = 30.0


def programs():
    """The folder with initdb and postgres, or None."""
    named = shutil.which("postgres")
    folders = [Path(named).resolve().parent] if named else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each for each in folders if (each / "initdb").exists() and (each / "postgres").exists()), None)


class Server:
    """A running server with a user `halo`, trusted on the loopback; it ends with the thread that made it."""

    def __init__(self):
        self.programs = programs()
        self.root = Path(tempfile.mkdtemp(prefix="halopg-", dir="/tmp"))
        self.who = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(self.root, user.pw_uid, user.pw_gid)
            self.who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(self.root), "TZ": "UTC"}
        made = self._run(
            "initdb", "-D", self.root / "data", "-U", "halo", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"
        )
        if made.returncode:
            raise RuntimeError(made.stderr)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    def _run(self, program, *words):
        return subprocess.run(
            [self.programs / program, *words],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            **self.who,
        )

    @property
    def url(self):
        """What --storage is given."""
        return f"postgresql://halo@127.0.0.1:{self.port}/postgres"

    def start(self):
        """Start, and wait until it answers."""
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "/usr/bin/setpriv",
                    "--pdeathsig",
                    "INT",
                    self.programs / "postgres",
                    "-D",
                    self.root / "data",
                    "-p",
                    str(self.port),
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "unix_socket_directories=",
                ],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.who,
            )
        end = time.monotonic() + START_S
        while self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)).returncode:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.root / "log").read_text()[-2000:])
            time.sleep(0.05)

    def stop(self, sign=signal.SIGINT):
        """Stop: SIGINT in order, SIGQUIT at once."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
            self.process.wait(STOP_S)

    def all_processes(self):
        """The server and its backends."""
        with contextlib.suppress(psutil.Error):
            server = psutil.Process(self.process.pid)
            return [server, *server.children(recursive=True)]
        return []

    def freeze(self):
        """Every process stands still; connections stay up and nobody answers."""
        frozen = self.all_processes()
        for process in frozen:
            process.suspend()
        return frozen

    def close(self):
        """Stop and remove."""
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
