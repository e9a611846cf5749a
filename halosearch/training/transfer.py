"""Weights of one network for another: other windows, other classes, other image sizes; every tensor is accounted for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halosearch.errors import EnvironmentFault, UsageError
from halosearch.families.foreign import import_optional

WEIGHTS = "weights.pt"
SAFE = ".safetensors"
HEAD = "head."
EMBEDDINGS = ("rel_height", "rel_width", "rel_row", "rel_column")
INTERPOLATED, ZERO = "interpolated", "zero"


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of the tensors of a network that was begun from another's weights: names by how they came to be."""

    same: tuple[str, ...]
    interpolated: tuple[str, ...]
    new: tuple[str, ...]

    def words(self) -> str:
        """In a sentence."""
        said = [f"{len(self.same)} tensors taken over"]
        if self.interpolated:
            said.append(f"{len(self.interpolated)} embeddings interpolated")
        if self.new:
            said.append(f"{len(self.new)} begun anew ({', '.join(self.new[:3])}{', ...' if len(self.new) > 3 else ''})")
        return ", ".join(said)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, or of the folder of a model that was trained here.

    Raises:
        EnvironmentFault: it is not there, or holds no tensors by name.
    """
    file = path / WEIGHTS if path.is_dir() else path
    hint = f"give a folder with {WEIGHTS}, or a file of tensors by name (.pt, .safetensors)"
    if not file.is_file():
        raise EnvironmentFault(f"there are no weights at {path}", hint)
    try:
        if file.suffix == SAFE:
            found = import_optional("safetensors.torch").load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except EnvironmentFault:
        raise
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentFault(f"{file} cannot be read: {line}", hint) from error
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise EnvironmentFault(f"{file} holds no tensors by name", hint)
    return found


def classes_of(path: Path) -> tuple[str, ...] | None:
    """Names of the classes that weights were trained for, where a model's or an export's folder says them; else None."""
    folder = path if path.is_dir() else path.parent
    for name in ("model.json", "config.json"):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))["classes"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return tuple(found)
    return None


def fingerprint_of(weights: Mapping[str, Tensor]) -> str:
    """Sixteen hexadecimal digits that change with any weight."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def begin_from(network: nn.Module, weights: Mapping[str, Tensor], *, embeddings: str = INTERPOLATED) -> Moved:
    """Put weights into a network whose windows, image size or classes may differ.

    Relative embeddings of another window are interpolated linearly between their ends, as in the paper (section on transfer), or set to
    nought. A classifier that the weights have not, or of another number of classes, begins anew.

    Raises:
        UsageError: any other tensor is missing or of another shape: the networks differ in more than that.
    """
    own, moved = network.state_dict(), {}
    same, interpolated, new = [], [], []
    for name, there in own.items():
        given = weights.get(name)
        if given is not None and given.shape == there.shape:
            moved[name] = given
            same.append(name)
        elif given is not None and name.endswith(EMBEDDINGS) and given.shape[1:] == there.shape[1:]:
            moved[name] = torch.zeros_like(there) if embeddings == ZERO else stretched(given, len(there))
            interpolated.append(name)
        elif name.startswith(HEAD):
            moved[name] = there
            new.append(name)
        else:
            have = "no such tensor" if given is None else f"{tuple(given.shape)} there"
            raise UsageError(
                f"{name} {tuple(there.shape)} cannot begin from these weights: {have}",
                "windows, image size and classes may differ; widths, depths and kinds of layers may not",
            )
    surplus = sorted(name for name in set(weights) - set(own) if not name.startswith(HEAD))
    if surplus:
        raise UsageError(
            f"these weights have {len(surplus)} tensors that the network has not, the first: {surplus[0]}",
            "windows, image size and classes may differ; widths, depths and kinds of layers may not",
        )
    network.load_state_dict(moved)
    return Moved(tuple(same), tuple(interpolated), tuple(new))


def stretched(table_LD: Tensor, length: int) -> Tensor:
    """(L, D) to (length, D), linear between rows, both ends kept."""
    rows_1DL = table_LD.float().T[None]
    found = F.interpolate(rows_1DL, size=length, mode="linear", align_corners=True)[0].T
    return found.to(table_LD.dtype).contiguous()
