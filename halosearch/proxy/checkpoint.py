"""Checkpoints that are whole or absent: written beside, synced, renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint in one step; a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


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
