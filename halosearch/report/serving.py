"""A running study's page over HTTP, on this machine alone: it follows the record; the file on disk stays the form to publish."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from halosearch.errors import EnvironmentFault
from halosearch.record.folders import Folders
from halosearch.report.reading import Opened, rewrite_report

HOST = "127.0.0.1"
OFFLINE = "default-src 'none';"
PLAIN = '<html lang="en" class="plain">'


class LivePage:
    """The page of a study as its record is now, drawn anew when that has changed."""

    def __init__(self, opened: Opened) -> None:
        """Nothing is drawn yet, and nothing is ever written to the study or its report."""
        self._opened, self._lock = opened, threading.Lock()
        self._drawn: tuple[str, str] | None = None

    def version(self) -> str:
        """Changes with every row that begins or ends."""
        with self._lock:
            return self._version()

    def _version(self) -> str:
        rows = self._opened.rows
        return f"{len(rows)}-{sum(row.runs > 0 for row in rows)}"

    def text(self) -> str:
        """The page, which asks this server for news."""
        with self._lock:
            version = self._version()
            if self._drawn is None or self._drawn[0] != version:
                with tempfile.TemporaryDirectory() as folder:
                    place = Folders(self._opened.folders.study, Path(folder))
                    _, page = rewrite_report(replace(self._opened, folders=place))
                    self._drawn = version, live_form(page.read_text(encoding="utf-8"), version)
            return self._drawn[1]


def live_form(text: str, version: str) -> str:
    """A page that may ask where it came from, and nothing else."""
    assert OFFLINE in text and PLAIN in text  # noqa: PT018
    asking = text.replace(OFFLINE, f"{OFFLINE} connect-src 'self';", 1)
    return asking.replace(PLAIN, f'<html lang="en" class="plain" data-live="{version}">', 1)


def handler_of(page: LivePage) -> type[BaseHTTPRequestHandler]:
    """Answers to GET of the page and of its version; to nobody who calls this machine by another name."""

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        def do_GET(self) -> None:
            """The page at /, what it is a page of at /version."""
            with contextlib.suppress(ConnectionError):  # a tab that was closed
                self._answer()

        def _answer(self) -> None:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
            known = {"/": (page.text, "text/html"), "/version": (page.version, "text/plain")}
            wanted = known.get(urlsplit(self.path).path)
            if host not in (HOST, "localhost"):  # somebody's name that leads here would read the page through a browser
                self.send_error(HTTPStatus.FORBIDDEN)
            elif wanted is None:
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                try:
                    text = wanted[0]()
                except Exception as error:  # noqa: BLE001  # a record that is damaged just now; the next look may find it whole
                    self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, type(error).__name__)
                else:
                    self._send(text, f"{wanted[1]}; charset=utf-8")

        def _send(self, text: str, kind: str) -> None:
            content = text.encode()
            self.send_response(HTTPStatus.OK)
            for name, value in (
                ("Content-Type", kind),
                ("Content-Length", str(len(content))),
                ("Cache-Control", "no-store"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Requests are not told of."""

    return Handler


@contextmanager
def serving(opened: Opened, port: int) -> Iterator[ThreadingHTTPServer]:
    """A server on the loopback address; port 0 takes a free one.

    Raises:
        EnvironmentFault: the port is taken.
    """
    try:
        server = ThreadingHTTPServer((HOST, port), handler_of(LivePage(opened)))
    except OSError as error:
        raise EnvironmentFault(
            f"port {port} of {HOST} cannot be used: {error.strerror}", "choose another with --port, or --port 0"
        ) from error
    server.daemon_threads = True
    try:
        yield server
    finally:
        server.server_close()
