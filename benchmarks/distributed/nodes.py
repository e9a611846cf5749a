"""A Ray cluster of several nodes on one machine, started and killed as processes."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent
STOP_S = 20.0


def free_port():
    """A port outside of Ray's worker range that nobody listens on."""
    for port in range(21000 + os.getpid() % 5000, 30000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


def listening(port):
    """Whether somebody answers."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    return False


class Nodes:
    """A head and some other nodes.

    Args:
        cpus, gpus: that each node says it has.
        environment: of all nodes, beside this process's own.
    """

    def __init__(self, others=2, cpus=2, gpus=0, environment=None, head_cpus=None):
        self.port, self.cpus, self.gpus = free_port(), cpus, gpus
        if not Path("~/.ray/auth_token").expanduser().exists():  # drivers inherit it
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        self.temp = tempfile.mkdtemp(prefix="hr", dir="/tmp")  # Ray's sockets need a short path
        self.environment = {
            **os.environ,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "PYTHONPATH": str(ROOT),
            **(environment or {}),
        }
        self.address = f"127.0.0.1:{self.port}"
        self.nodes = []
        self.head = self._start("--head", "--port", str(self.port), cpus=cpus if head_cpus is None else head_cpus)
        end = time.monotonic() + 60
        while not listening(self.port):
            if time.monotonic() > end or self.head.poll() is not None:
                raise RuntimeError(f"Ray's head did not start: {Path(self.temp, 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        time.sleep(2.0)
        for _ in range(others):
            self.join()

    def _start(self, *words, cpus):
        with Path(self.temp, "log").open("ab") as log:
            return subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "ray"),
                    "start",
                    *words,
                    "--num-cpus",
                    str(cpus),
                    "--num-gpus",
                    str(self.gpus),
                    "--disable-usage-stats",
                    "--block",
                    *(["--temp-dir", self.temp, "--include-dashboard", "false"] if "--head" in words else []),
                ],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def join(self):
        """One more node."""
        self.nodes.append(self._start("--address", self.address, cpus=self.cpus))

    @staticmethod
    def raylet(node):
        """The node's manager, or None while it starts."""
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(node.pid).children(recursive=True):
                if process.name().startswith("raylet"):
                    return process
        return None

    def kill(self, node, *, with_workers=True):
        """SIGKILL a node's manager; with it, its workers: the machine is gone."""
        raylet = self.raylet(node)
        if raylet is None:
            return False
        below = raylet.children(recursive=True)
        raylet.send_signal(signal.SIGKILL)
        for process in below if with_workers else ():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._end(node)
        if node in self.nodes:
            self.nodes.remove(node)
        return True

    def workers(self):
        """Evaluating processes and the actors that hold them, on all nodes."""
        found = []
        for node in [self.head, *self.nodes]:
            raylet = self.raylet(node)
            if raylet is None:
                continue
            with contextlib.suppress(psutil.Error):
                found += [p for p in raylet.children(recursive=True) if _is_worker(p)]
        return found

    def close(self):
        """End everything; returns the processes that had to be killed."""
        left = []
        for node in [*self.nodes, self.head]:
            left += self._end(node)
        subprocess.run(["rm", "-rf", self.temp], check=False)
        return left

    @staticmethod
    def _end(node):
        below = []
        with contextlib.suppress(psutil.Error):
            below = psutil.Process(node.pid).children(recursive=True)
        node.terminate()
        try:
            node.wait(STOP_S)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
        _, alive = psutil.wait_procs(below, timeout=5)
        alive = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return alive

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _is_worker(process):
    with contextlib.suppress(psutil.Error):
        words = " ".join(process.cmdline())
        return words.startswith("ray::RayWorker") or "--multiprocessing-fork" in words
    return False


def left_over(mark):
    """Command lines of living processes that mention `mark`: what nobody ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if mark in words and process.status() != psutil.STATUS_ZOMBIE:
                found.append(words[:100])
    return found
