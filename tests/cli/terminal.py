"""A real pseudo-terminal with a real emulator behind it."""

import os
import pty
import select
import struct
import subprocess
import sys
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSCTTY, TIOCSWINSZ

import pyte


def _take_terminal():
    """Keys such as Ctrl-C become signals only for processes whose terminal this is."""
    ioctl(0, TIOCSCTTY, 0)


class Terminal:
    """A command in a terminal of so many columns; `screens` holds what was to be seen after every piece of output."""

    def __init__(self, words, columns, rows=30, cwd=None, env=None):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw, self.screens = b"", []
        self.master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = os.environ | {"TERM": "xterm-256color", "PYTHONPATH": str(Path.cwd())} | (env or {})
        for name in ("COLUMNS", "LINES", "FORCE_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=environment,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)

    def read(self, seconds):
        """Take what comes until the command ends or the time is up; whether it still runs."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ready, _, _ = select.select([self.master], [], [], 0.1)
            if ready:
                try:
                    piece = os.read(self.master, 65536)
                except OSError:  # the other end is closed
                    piece = b""
                if not piece:
                    return False
                self.raw += piece
                self.stream.feed(piece)
                self.screens.append([line.rstrip() for line in self.screen.display])
            elif self.process.poll() is not None:
                return False
        return True

    def wait(self, seconds=60):
        self.read(seconds)
        return self.process.wait(seconds)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)
