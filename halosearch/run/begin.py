"""Begin a study or find it again: its folders, and the spec that a study file and the command line mean together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halosearch import __version__
from halosearch.container import cores
from halosearch.errors import UsageError, VersionError
from halosearch.families.known import HALONET
from halosearch.families.rivals import NEAREST, NONE, rivals_of
from halosearch.proxy.data.difficulty import DIFFICULTIES
from halosearch.record.folders import Folders, budget_name, find_study, folders_of
from halosearch.record.storage import check_address
from halosearch.run.engines.gpus import gpus_for, kinds_here
from halosearch.spec.flags import merged, nested
from halosearch.spec.presets import PRESETS, Preset, choose_preset
from halosearch.spec.quantities import parse_rivals
from halosearch.spec.study import (
    DEFAULT_IN_FLIGHT,
    FILE,
    FORMAT,
    MAY_CHANGE,
    StudySpec,
    make_spec,
    preset_space,
    read_yaml,
    validated,
)

REPORTS = ("summary.json", "experiment.json", "law.json")
"""What a report of ours holds, one of them at least."""
LEFT_BY_A_FALSE_START = frozenset({"driver.lock", "cache", FILE})
ResolveDevice = Callable[[str], str]
"""Turns a device name into the one that is used, raising where it is absent."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: a study's name or file, the folder that holds studies/, and values in the shape of a study file."""

    study: str | None = None
    root: Path = Path()
    said: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda _: None


def request(
    study: str | None = None, root: Path = Path(), tell: Callable[[str], None] = lambda _: None, **flat: Any
) -> Request:
    """A request from flat values, named like the options of the command line (`budget_params`, `preset`, ...)."""
    return Request(study, root, nested(StudySpec, flat), tell)


def resolve(asked: Request, resolve_device: ResolveDevice) -> tuple[StudySpec, Folders, bool]:
    """The spec that a request means, its folders, and whether the study exists already. Nothing is written.

    Raises:
        UsageError: no budget, a folder that is no study, a study begun with other inputs.
        VersionError: the study was begun by a version whose records are only read.
    """
    source = Path(asked.study) if asked.study and asked.study.endswith((".yaml", ".yml")) else None
    values = read_yaml(source, asked.tell) if source is not None else {}
    budget = merged(values.get("budget") or {}, asked.said.get("budget") or {})
    name = asked.said.get("name") or values.get("name") or (asked.study if source is None else _stem(source))
    if name is None and "params" in budget:
        name = budget_name(budget["params"])
        family = asked.said.get("family") or values.get("family") or HALONET
        name = name if family == HALONET else f"{family}-{name}"
    if name is None:
        raise UsageError("a new study needs a budget", "for example: halosearch study --budget-params 20M")
    folders = find_study(asked.root, name) if (Path(name) / FILE).exists() else folders_of(asked.root, name)
    if is_begun(folders):
        return _continued(asked, values, folders, resolve_device), folders, True
    if (folders.study / FILE).exists():  # written by hand, nothing recorded yet
        values = read_yaml(folders.study / FILE, asked.tell) | values
    check_free(folders)
    values = merged(values, {**asked.said, "name": name})
    if "params" not in (values.get("budget") or {}):
        raise UsageError(
            f"there is no study {name!r} here, and a new one needs a budget",
            "for example: halosearch study --budget-params 20M",
        )
    return _new(values, resolve_device), folders, False


def _stem(source: Path) -> str | None:
    """A study file's name without its ending; `study.yaml` names nothing."""
    return None if source.name == FILE else source.stem


def is_begun(folders: Folders) -> bool:
    """Whether a run has written the whole study.yaml; one written by hand has no hash of its space."""
    return (folders.study / FILE).exists() and "space_hash" in read_yaml(folders.study / FILE)


def check_free(folders: Folders) -> None:
    """Refuse folders that hold something else than what a study that never began leaves behind, and names that mean a file."""
    if folders.study.name.endswith((".yaml", ".yml")):
        raise UsageError(
            f"the name {folders.study.name!r} would be read as a study file", "a name without .yaml: --name"
        )
    held = {path.name for path in folders.study.iterdir()} if folders.study.is_dir() else set()
    held = {name for name in held if not name.startswith(".")}  # a file that was being written when a run was killed
    if held - LEFT_BY_A_FALSE_START or (folders.study.exists() and not folders.study.is_dir()):
        raise UsageError(f"{folders.study} exists and is not a study", "choose another name with --name")
    if folders.report.exists() and not any((folders.report / name).exists() for name in REPORTS):
        raise UsageError(f"{folders.report} exists and is not a report", "choose another name with --name")


def with_full_path(values: dict[str, Any]) -> dict[str, Any]:
    """Where the data lies, whatever folder the study is continued from; names of built-in scenes stay as they are."""
    data = values.get("data")
    if data is None or data in DIFFICULTIES:
        return values
    return values | {"data": str(Path(data).expanduser().resolve())}


def _new(values: dict[str, Any], resolve_device: ResolveDevice) -> StudySpec:
    """A whole spec: what was said over the preset's numbers, everything written out."""
    values = {key: value for key, value in values.items() if value is not None}
    _check_types(values)
    given = values.get("preset") or {}
    named = given.get("name")
    if named and named != "custom" and named not in PRESETS:
        raise UsageError(f"unknown preset {named!r}", f"presets are {', '.join(PRESETS)}")
    device = resolve_device(values.get("device", "auto"))
    base = PRESETS[named] if named in PRESETS else choose_preset(device.partition(":")[0], values.get("max_time_s"))
    preset = validated(Preset, merged(base.model_dump(), given))
    retests, workers = values.get("retests", preset.retests), values.get("workers")
    if isinstance(retests, int):  # only candidates drawn evenly are repeated
        preset = preset.model_copy(update={"uniform": max(preset.uniform, retests)})
    if workers is None and device.startswith("cuda"):
        workers = gpus_here(device)
    in_flight = values.get("max_in_flight", default_in_flight(workers))
    family = values.get("family", HALONET)
    space = preset_space(str(family), preset, values.get("space") or {})
    whole = {
        "rivals": rivals_of(_words(values.pop("rivals", NEAREST)), str(family), _params(values), space.image_size),
        "data": preset.scenes,
        "trials": preset.trials,
        "workers": workers or default_workers(in_flight),
        **values,
        "format": FORMAT,
        "halosearch": __version__,
        "device": device,
        "preset": preset.model_dump(),
        "retests": retests,
        "max_in_flight": in_flight,
        "space": space.to_dict(),
        "space_hash": space.hash(),
    }
    return _made(whole)


def _words(rivals: Any) -> tuple[str, ...]:
    """Rivals as a study file or an option says them."""
    if isinstance(rivals, str):
        return parse_rivals(rivals, "rivals")
    if not isinstance(rivals, list | tuple) or not all(isinstance(each, str) for each in rivals):
        raise UsageError(f"study: rivals cannot be {rivals!r}", "for example rivals: [efficientnet-b0, resnet-50]")
    return tuple(rivals) or (NONE,)


def _params(values: dict[str, Any]) -> int:
    """The budget, before the whole spec is validated."""
    params = (values.get("budget") or {}).get("params")
    return params if isinstance(params, int) and params > 0 else 1


def _made(values: dict[str, Any]) -> StudySpec:
    spec = make_spec(with_full_path(values))
    check_address(spec.storage)
    return spec


def _check_types(values: dict[str, Any]) -> None:
    """What is used before the whole spec can be validated."""
    for key, kind, example in (("device", str, "cpu"), ("data", str, "photos"), ("max_time_s", (int, float), "7200")):
        if key in values and not isinstance(values[key], kind):
            raise UsageError(f"study: {key} cannot be {values[key]!r}", f"for example {key}: {example}")


def default_in_flight(workers: Any) -> int:
    """Four decisions under way; with more than four workers twice their number, so that none waits for the slowest."""
    return DEFAULT_IN_FLIGHT if not isinstance(workers, int) or workers <= DEFAULT_IN_FLIGHT else 2 * workers


def gpus_here(device: str) -> int:
    """One worker for every visible GPU of the first one's kind; one where none is visible (a cluster's are elsewhere)."""
    return max(1, len(gpus_for(device, kinds_here())))


def default_workers(in_flight: Any) -> int:
    """One worker per core that is ours (at most as many as proposals allow)."""
    in_flight = in_flight if isinstance(in_flight, int) else DEFAULT_IN_FLIGHT
    return max(1, min(cores(), int(in_flight)))


def _continued(asked: Request, values: dict[str, Any], folders: Folders, resolve_device: ResolveDevice) -> StudySpec:
    """The spec on disk, with what was said now: what may change is changed, everything else must agree."""
    spec = make_spec(read_yaml(folders.study / FILE))
    if spec.format != FORMAT:
        raise VersionError(
            f"the study {spec.name!r} was begun in format {spec.format}, which this version only reads",
            "continue it with the version of halosearch that began it, or start anew under another --name",
        )
    if spec.space_hash != spec.search_space().hash():
        raise UsageError(
            f"the search space in {FILE} was changed after the study began",
            "undo the change, or start another study with --name",
        )
    resolve_device(spec.device)
    said = merged({key: value for key, value in values.items() if key not in ("device", "name")}, asked.said)
    said = {key: value for key, value in said.items() if key != "name" and (key, value) != ("device", "auto")}
    if "rivals" in said:
        words = _words(said["rivals"])
        said["rivals"] = list(rivals_of(words, spec.family, spec.budget.params, spec.search_space().image_size))
    named = (said.get("preset") or {}).get("name")
    if named is not None and named != spec.preset.name:
        raise UsageError(
            f"the study {spec.name!r} was begun with preset {spec.preset.name}, not {named}",
            "start another study with --name",
        )
    whole = merged(spec.model_dump(mode="json"), {key: value for key, value in said.items() if key != "space"})
    if said.get("space"):
        space = spec.search_space().with_overrides(said["space"])
        whole |= {"space": space.to_dict(), "space_hash": space.hash()}
    now = _made(whole)
    check_same(spec, now)
    if now.sampler != "random" and now.retests > max(now.preset.uniform, spec.retests):
        raise UsageError(
            f"only {now.preset.uniform} candidates of the study {spec.name!r} were drawn evenly, and only these can be trained again",
            f"at most --retests {now.preset.uniform}, or start another study with --name",
        )
    return now


def check_same(old: StudySpec, new: StudySpec) -> None:
    """Refuse to continue a study as another one."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    for key in before:
        if key not in MAY_CHANGE and before[key] != after[key]:
            raise UsageError(
                f"the study {old.name!r} was begun with {_difference(key, before[key], after[key])}",
                "continue it without that flag, or start another study with --name",
            )


def _difference(key: str, old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(k for k in {**old, **new} if old.get(k) != new.get(k))
        return _difference(f"{key}.{inner}", old.get(inner), new.get(inner))
    return f"{key} {old}, not {new}"
