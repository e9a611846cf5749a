"""The one place where errors become words and exit codes."""

from __future__ import annotations

import errno
import sys

import typer
from typer.exceptions import TyperException

from halosearch.errors import HalosearchError, missing_package

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def run_app(app: typer.Typer, arguments: list[str]) -> None:
    """Run a command line to its exit code; never a traceback without --debug."""
    words = _with_values(arguments)
    try:
        code = app(args=words, standalone_mode=False)
    except TyperException as error:
        said = error.format_message() if hasattr(error, "format_message") else str(error)
        _end(said or "see the help", "halosearch --help", getattr(error, "exit_code", 2))
    except HalosearchError as error:
        if "--debug" in words:
            raise
        _end(error.sentence, error.hint, error.exit_code)
    except MemoryError:
        _end("out of memory", "try a smaller image size or batch", 4)
    except (KeyboardInterrupt, typer.Abort):
        _end("interrupted", "", 130)
    except Exception as error:  # the last resort: a bug of ours is one sentence too
        if "--debug" in words:
            raise
        _end(*_last_words(error))
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _last_words(error: Exception) -> tuple[str, str, int]:
    """What is said of an error that nobody expected: a file's, a missing package's, or our own."""
    if isinstance(error, OSError) and error.errno:
        return *_of_the_system(error), 4
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return "out of memory on the GPU", "end what else computes there, or try a smaller image size or batch", 4
    fault = missing_package(error) if isinstance(error, ImportError) else None
    if fault is not None:
        return fault.sentence, fault.hint, fault.exit_code
    return (
        f"this is a bug in halosearch: {type(error).__name__}: {error}",
        "run it again with --debug before the command and report it",
        1,
    )


def _of_the_system(error: OSError) -> tuple[str, str]:
    """What a file, a disk or a network did, which is no bug."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno in FULL:
        return (
            f"the disk is full; cannot write{where}",
            "choose another folder with --dir or --output, or free some space",
        )
    if error.errno in FORBIDDEN:
        return f"cannot write or read{where}", "choose another folder with --dir or --output, or change its rights"
    if error.errno == errno.EISDIR:
        return f"{where.strip()} is a folder", "name a file in it"
    return (
        f"the system refused{where}: {error.strerror or error}",
        "see to that file, folder or disk and run the same command again; --debug before the command says where it was",
    )


def _with_values(arguments: list[str]) -> list[str]:
    """Give --json and --ray, which may stand alone, the values that they then mean."""
    words: list[str] = []
    for position, word in enumerate(arguments):
        following = arguments[position + 1] if position + 1 < len(arguments) else ""
        if word == "--json":
            words.append("--json=document")
        elif word == "--ray" and following != "auto" and ":" not in following:
            words.append("--ray=here")
        else:
            words.append(word)
    return words


def _end(sentence: str, hint: str, code: int) -> None:
    sys.stderr.write(f"error: {sentence}\n" + (f"help: {hint}\n" if hint else ""))
    sys.exit(code)
