"""Join a Ray cluster, or start one: by an address that is asked before Ray asks it, with the account's token."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from halosearch.run.engines.ray_client import Cluster

CONNECT_S = 5.0


class Refused(Exception):
    """The cluster cannot be used, and trying again would not help: a sentence and a hint."""

    def __init__(self, sentence: str, hint: str) -> None:
        super().__init__(sentence)
        self.sentence, self.hint = sentence, hint


def connect(cluster: Cluster, size: int, memory_bytes: int | None = None) -> tuple[str, int]:
    """Join the cluster, or start one for `size` workers of so much memory each; returns the head's address.

    Raises:
        Refused: nobody answers, or the cluster lets nobody in.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = cluster.address
    if address is not None:
        _prepare_token()
        _probe(address)
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
    if address is None:
        options |= {
            "address": "local",
            "num_cpus": max(1, round(size * cluster.cpus)),
            "include_dashboard": False,
        }
    else:
        options |= {"address": address}
    try:
        ray.init(**options)
    except (Exception, SystemExit) as error:  # Ray leaves by SystemExit where a head does not answer
        raise _refusal(address, error) from error
    if address is None:
        _refuse_what_is_not_here(cluster, memory_bytes, ray.cluster_resources())  # type: ignore[no-untyped-call]
    found = ray.get_runtime_context().gcs_address
    host, _, port = str(found).rpartition(":")
    return host, int(port)


def _refuse_what_is_not_here(cluster: Cluster, memory_bytes: int | None, there: dict[str, float]) -> None:
    """A cluster of our own does not grow: what it lacks now it will never have."""
    if cluster.gpus > there.get("GPU", 0.0):
        raise Refused(
            f"each worker asks for {cluster.gpus:g} GPU, and Ray finds {there.get('GPU', 0.0):g} on this machine",
            "use --device cpu without --gpus-per-trial, or give the address of a cluster with GPUs",
        )
    if (memory_bytes or 0) > there.get("memory", float("inf")):
        raise Refused(
            f"each worker asks for {(memory_bytes or 0) / 2**30:.1f} GiB, and Ray finds {there['memory'] / 2**30:.1f} here",
            "lower --max-trial-memory",
        )


def _prepare_token() -> None:
    """Use the account's token where there is one: Ray 2.60 starts heads with a token and clients without."""
    if "RAY_AUTH_MODE" in os.environ:
        return
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    if "RAY_AUTH_TOKEN" in os.environ or token.exists():
        os.environ["RAY_AUTH_MODE"] = "token"


def _probe(address: str) -> None:
    """Ask the head's port before Ray does: Ray ends the process where nobody answers."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise Refused(
            f"--ray {address} is no address of a head", "give host:port as printed by ray start --head, or auto"
        )
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except OSError as error:
        raise Refused(
            f"no Ray head answers at {address} ({error.strerror or error})",
            "start one with: ray start --head; or leave the address out to use this machine",
        ) from error


def _refusal(address: str | None, error: BaseException) -> Refused:
    words = str(error)
    if isinstance(error, OSError) and _is_of_home(error):
        return Refused(
            f"Ray keeps a token in the home folder, and {Path.home()} cannot be written ({error.strerror})",
            "export HOME to a folder that can be, or export RAY_AUTH_MODE=disabled",
        )
    if "uth" in words and "oken" in words:
        return Refused(
            f"the Ray cluster at {address} asks for another token than this account has",
            "copy the head's ~/.ray/auth_token here, or export RAY_AUTH_TOKEN, or start the head with RAY_AUTH_MODE=disabled",
        )
    if address is not None and isinstance(error, ConnectionError):
        return Refused(
            f"the Ray head at {address} answers, but does not let this account in, or is of another version",
            "both must run the same Ray; copy the head's ~/.ray/auth_token here and export RAY_AUTH_MODE=token",
        )
    if "AF_UNIX" in words:
        name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"  # Ray's own comes first
        return Refused(
            f"the path of temporary files is too long for Ray's sockets: {os.environ.get(name, tempfile.gettempdir())}",
            f"choose a short one: export {name}=/tmp",
        )
    said = words.strip().splitlines()[0][:200] if words.strip() else type(error).__name__
    where = "start Ray here" if address is None else f"join the Ray cluster at {address}"
    return Refused(f"cannot {where}: {said}", "see ray.log in the study's logs; check with: ray status")


def _is_of_home(error: OSError) -> bool:
    """Whether it says that Ray's folder in the home folder, or that folder itself, cannot be made or written."""
    home, path = Path.home(), Path(str(error.filename or ""))
    concerns_home = path.is_relative_to(home / ".ray") or path == home
    return concerns_home and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
