"""A real Firefox for tests, where there is one, spoken to in its own protocol (Marionette: JSON with its length before it, over TCP)."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
needs_firefox = pytest.mark.skipif(
    FIREFOX is None and not os.environ.get("HALOSEARCH_NEEDS_FIREFOX"), reason="no Firefox is installed here"
)
STARTS_WITHIN_S = 60
PORT_FILE = "MarionetteActivePort"


class Firefox:
    """One window; `run` evaluates JavaScript in its page."""

    def __init__(self, connection):
        self._connection, self._number = connection, 0
        self._read()  # its greeting
        self.call(
            "WebDriver:NewSession",
            {"capabilities": {"alwaysMatch": {"timeouts": {"script": 60_000, "pageLoad": 60_000}}}},
        )

    def call(self, command, values=None):
        self._number += 1
        text = json.dumps([0, self._number, command, values or {}])
        self._connection.sendall(f"{len(text.encode())}:{text}".encode())
        _, _, error, result = self._read()
        assert error is None, error
        return result

    def _read(self):
        head = b""
        while not head.endswith(b":"):
            head += self._connection.recv(1)
        rest = int(head[:-1])
        body = b""
        while len(body) < rest:
            body += self._connection.recv(rest - len(body))
        return json.loads(body)

    def open(self, address):
        self.call("WebDriver:Navigate", {"url": address})

    def run(self, script, *arguments):
        return self.call("WebDriver:ExecuteScript", {"script": script, "args": list(arguments)})["value"]

    def wait_for(self, script):
        """Until the script returns something true."""
        end = time.monotonic() + STARTS_WITHIN_S
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.1)

    def complaints(self):
        """Errors and warnings that pages have caused."""
        self.call("Marionette:SetContext", {"value": "chrome"})
        try:
            said = self.run(
                "return Services.console.getMessageArray().filter(m => m instanceof Ci.nsIScriptError)"
                ".map(m => [m.sourceName, m.errorMessage]);"
            )
        finally:
            self.call("Marionette:SetContext", {"value": "content"})
        return [message for source, message in said if source.startswith("file:")]


@contextlib.contextmanager
def firefox(width=1280, height=900):
    """A fresh profile that may go nowhere: its proxy is a port where nobody listens."""
    with tempfile.TemporaryDirectory() as profile:
        preferences = {"network.proxy.type": 1, "network.proxy.http": "127.0.0.1", "network.proxy.http_port": 9, "network.proxy.ssl": "127.0.0.1",
                       "network.proxy.ssl_port": 9, "marionette.port": 0, "app.update.disabledForTesting": True}  # fmt: skip
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
        (Path(profile) / "user.js").write_text("".join(lines))
        command = [FIREFOX, "--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", profile,
                   "--width", str(width), "--height", str(height)]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                with socket.create_connection(("127.0.0.1", _port(Path(profile), process)), timeout=120) as connection:
                    yield Firefox(connection)
            finally:
                process.terminate()


def _port(profile, process):
    end = time.monotonic() + STARTS_WITHIN_S
    while not (profile / PORT_FILE).exists() or not (profile / PORT_FILE).read_text():
        assert process.poll() is None, "Firefox has ended"
        assert time.monotonic() < end, "Firefox does not start"
        time.sleep(0.1)
    return int((profile / PORT_FILE).read_text())
