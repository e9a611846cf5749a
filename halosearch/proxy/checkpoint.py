"""Checkpoints that are whole or absent: written beside, synced, renamed."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import torch

from halosearch.files import write_bytes


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint in one step; a reader sees the old one or the new one."""
    bytes_ = io.BytesIO()
    torch.save(state, bytes_)  # straight to a full disk, torch raises an error that does not say so
    write_bytes(path, bytes_.getbuffer())


def load(path: Path, job: dict[str, Any]) -> dict[str, Any] | None:
    """The state of the same job, or None where there is none, it is unreadable or it belongs to another job."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception:  # noqa: BLE001  # torch raises many kinds for a damaged file; training then starts afresh
        return None
    return state if state.get("job") == job else None


def remove(path: Path) -> None:
    """Delete a checkpoint that is no longer needed."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
