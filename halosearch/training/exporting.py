"""A trained model for others: tensors by name with a card, torch.export, ONNX, each held against the network that it was made of."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from halosearch.errors import EnvironmentFault, UsageError
from halosearch.families.building_blocks import Classifier
from halosearch.families.foreign import import_optional
from halosearch.families.known import build, parse_candidate
from halosearch.files import write_text
from halosearch.training.transfer import WEIGHTS, read_weights

SAFETENSORS, TORCH, ONNX = "safetensors", "torch", "onnx"
FORMATS = (SAFETENSORS, TORCH, ONNX)
FILES = {SAFETENSORS: "model.safetensors", TORCH: "model.pt2", ONNX: "model.onnx"}
CONFIG, CARD, TRAINED = "config.json", "README.md", "model.json"
OPSET = 20
"""The newest that torch 2.13's exporter writes without conversion."""
MEAN, DEVIATION = 0.5, 64 / 255
"""Of pictures between 0 and 1: what networks here are trained on."""
TOLERANCE = {TORCH: 1e-5, ONNX: 1e-4}
"""Largest difference from the network, relative to its largest output."""
MOST_IMAGES = 4096


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written, and how far its outputs are from the network's (None for tensors, which are equal)."""

    path: Path
    difference: float | None


def crop_of(folder: Path) -> float:
    """Share of the shorter side that was looked at when the model of the folder was scored."""
    about = _about(folder)
    return float(about.get("crop_pct", about.get("job", {}).get("recipe", {}).get("test_crop", 1.0)))


def load_model(folder: Path) -> Classifier:
    """The network of a model that was trained here, or of an export's folder, in inference mode.

    Raises:
        EnvironmentFault: the folder holds none.
    """
    about, weights = _about(folder), _weights_in(folder)
    network = build(parse_candidate(about["candidate"]), len(about["classes"]))
    network.load_state_dict(weights)
    return network.eval()


def _weights_in(folder: Path) -> dict[str, Tensor]:
    named = folder / FILES[SAFETENSORS]
    return read_weights(named if named.is_file() else folder)


def _about(folder: Path, names: tuple[str, ...] = (CONFIG, TRAINED)) -> dict[str, Any]:
    """Candidate, classes and what else is known, of either kind of folder."""
    for name in names:
        file = folder / name
        if file.is_file():
            try:
                known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
                return known if name == CONFIG else {**known, "candidate": known["job"]["candidate"]}
            except (OSError, ValueError, KeyError) as error:
                raise EnvironmentFault(
                    f"{file} cannot be read: {error}", "train the model, or export it, again"
                ) from error
    raise EnvironmentFault(
        f"{folder} holds no trained model", "halosearch train-model CANDIDATE --data FOLDER --name NAME"
    )


def export_model(source: Path, target: Path, formats: Sequence[str], command: str) -> list[Exported]:
    """Write a trained model in these formats beside its card.

    Raises:
        UsageError: an unknown format, or a model whose training has not ended.
        EnvironmentFault: an optional package is missing, or a written file gives other outputs than the network.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise UsageError(f"there is no format {', '.join(unknown) or 'named'}", f"formats are {', '.join(FORMATS)}")
    about = _about(source, (TRAINED,))
    if not about.get("finished", True) or not (source / WEIGHTS).is_file():
        raise UsageError(
            f"the training of {source.name} has not ended", "let it run to its end first: the line that began it"
        )
    _check_packages(formats)
    weights = read_weights(source)
    config, classes = parse_candidate(about["candidate"]), len(about["classes"])
    network = build(config, classes, explicit=True)  # the form of plain operators, which exporters can follow
    network.load_state_dict(weights)
    network.eval()
    images = probe(config.image_size)
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target, prefix=".export-") as name:  # nothing of it is seen before all of it holds
        made, found = Path(name), []
        if SAFETENSORS in formats:
            found.append(Exported(_safetensors(weights, about, made / FILES[SAFETENSORS]), None))
        if TORCH in formats or ONNX in formats:
            program = _program(network, images)
            if TORCH in formats:
                found.append(_torch(program, network, images, made / FILES[TORCH]))
            if ONNX in formats:
                found.append(_onnx(program, network, images, made / FILES[ONNX]))
        _describe(about, made, found, command)
        for each in FILES.values():  # of an earlier export, perhaps of another model
            (target / each).unlink(missing_ok=True)
        for path in sorted(made.iterdir()):
            path.replace(target / path.name)
    return [replace(each, path=target / each.path.name) for each in found]


def _check_packages(formats: Sequence[str]) -> None:
    """Before anything is computed: each package that a format needs."""
    for name in ([SAFETENSORS] if SAFETENSORS in formats else []) + (
        ["onnx", "onnxscript", "onnxruntime"] if ONNX in formats else []
    ):
        import_optional(name)


def probe(side: int) -> Tensor:
    """Three random images that are the same everywhere."""
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))


def _safetensors(weights: Mapping[str, Tensor], about: Mapping[str, Any], path: Path) -> Path:
    save = import_optional("safetensors.torch").save_file
    metadata = {"format": "pt", "candidate": str(about["candidate"]), "halosearch": str(about["halosearch"])}
    save({name: each.contiguous() for name, each in weights.items()}, path, metadata)
    again = read_weights(path)
    if set(again) != set(weights) or not all(torch.equal(again[name], each) for name, each in weights.items()):
        raise EnvironmentFault(f"{path.name} does not hold the tensors that were written", "see that the disk is well")
    return path


def _program(network: nn.Module, images: Tensor) -> Any:
    """The exported program, for any number of images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(
            network, (images,), dynamic_shapes=({0: torch.export.Dim("images", min=1, max=MOST_IMAGES)},)
        )


def _torch(program: Any, network: nn.Module, images: Tensor, path: Path) -> Exported:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    return Exported(path, _held(TORCH, loaded, network, images))


def _onnx(program: Any, network: nn.Module, images: Tensor, path: Path) -> Exported:
    runtime = import_optional("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program,
            (images,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
    assert made is not None
    made.save(path)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return Exported(
        path, _held(ONNX, lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0]), network, images)
    )


@torch.no_grad()
def _held(name: str, made: Any, network: nn.Module, images: Tensor) -> float:
    """The largest difference of the outputs over their largest, of three images and of one.

    Raises:
        EnvironmentFault: it is more than the format's tolerance.
    """
    worst = 0.0
    for some in (images, images[:1]):
        wanted = network(some)
        worst = max(worst, float((made(some) - wanted).abs().max() / wanted.abs().max()))
    if not worst <= TOLERANCE[name]:
        raise EnvironmentFault(
            f"{FILES[name]} gives outputs that differ by {worst:.1e} from the network's", "leave this format out"
        )
    return worst


def _describe(about: Mapping[str, Any], target: Path, found: Sequence[Exported], command: str) -> None:
    """config.json and the card."""
    side = parse_candidate(about["candidate"]).image_size
    config = {
        "architecture": "halosearch",
        "candidate": about["candidate"],
        "num_classes": len(about["classes"]),
        "classes": list(about["classes"]),
        "input_size": [3, side, side],
        "mean": [MEAN] * 3,
        "std": [DEVIATION] * 3,
        "crop_pct": about.get("job", {}).get("recipe", {}).get("test_crop", 1.0),
        "halosearch": about["halosearch"],
    }
    write_text(target / CONFIG, json.dumps(config, indent=2) + "\n")
    write_text(target / CARD, card(about, found, command))


def card(about: Mapping[str, Any], found: Sequence[Exported], command: str) -> str:
    """What a stranger must know of the model: what it is, what it was trained on and how, what it scores, what is not known."""
    job = about.get("job", {})
    recipe, epochs = job.get("recipe", {}), about.get("epochs") or [{}]
    last = epochs[-1]
    lines = [
        f"# {about['candidate']}",
        f"An image classifier of {len(about['classes'])} classes, {about.get('params', 0):,} parameters, {about.get('macs', 0):,} multiply-adds, "
        f"trained by halosearch {about['halosearch']} (torch {about.get('torch', '?')}).",
        "## Trained on",
        f"{about.get('data', '?')}, at {job.get('image_size', '?')} pixels, {last.get('epoch', '?')} epochs, seed {job.get('seed', '?')}.",
        "## Scores",
        _scores(last) + (f" The candidate was chosen by a study, as {about['chosen']}." if about.get("chosen") else ""),
        "## Recipe",
        "```json\n" + json.dumps(recipe, indent=2) + "\n```",
        "## Files",
        "\n".join(
            f"- `{each.path.name}`" + ("" if each.difference is None else f": outputs within {each.difference:.1e} of the network's")
            for each in found
        ),
        "Pictures are RGB, between 0 and 1, minus 0.5, over 64/255. Where the tensors are there, "
        "`halosearch.training.exporting.load_model(FOLDER)` builds the network with its weights; `import halosearch.timm` lets "
        '`timm.create_model("halosearch", folder=FOLDER)` do so.',
        "## Made by",
        f"```sh\n{command}\n```",
        "## What is not known",
        "How it does on other pictures, on other cameras, or on people and places that the training pictures do not show.",
    ]  # fmt: skip
    return "\n\n".join(lines) + "\n"


def _scores(last: Mapping[str, Any]) -> str:
    if "top1" not in last:
        return "None recorded."
    return (
        f"Top-1 {100 * last['top1']:.2f} %, top-5 {100 * last['top5']:.2f} %, cross-entropy {last['test_loss']:.4f} on {last['scored']:,} "
        "pictures kept for scoring, after the last epoch. One training; how far another seed would differ is not known from it."
    )
