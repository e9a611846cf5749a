"""Files that are whole or absent: written beside, synced, renamed. What is no file (a device, a pipe) is written to as it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace `path` in one step; a reader sees the old content or the new one, never a part. A link stays, and what it names is replaced.

    Raises:
        OSError: it is a folder, the disk is full or the folder cannot be written; the old file is then untouched.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            file.write(content)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of text in UTF-8."""
    write_bytes(path, text.encode("utf-8"))
