"""Begin a study or find it again: folders, spec, cell, record."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halosearch.errors import UsageError
from halosearch.proxy.data.dataset import DataRequest
from halosearch.proxy.data.difficulty import DIFFICULTIES
from halosearch.record.folders import Folders, budget_name, find_study, folders_of
from halosearch.record.store import Store
from halosearch.search.sampler import POOL
from halosearch.spec.presets import TIERS, choose_tier
from halosearch.spec.study import (
    DEFAULT_LOOKAHEAD,
    FILE,
    MAY_CHANGE,
    StudySpec,
    check_same_inputs,
    make_spec,
    make_tier,
    read_yaml,
    tier_space,
)

MAY_LIMIT = ("max_gpu_hours", "max_trial_time_s", "max_trial_memory", "storage")
LEFT_BY_A_FALSE_START = frozenset({"driver.lock", "cache", FILE})


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for; None is "not said"."""

    study: str | None = None
    root: Path = Path()
    name: str | None = None
    params: int | None = None
    tolerance: float | None = None
    max_macs: int | None = None
    seed: int | None = None
    sampler: str | None = None
    data: str | None = None
    device: str = "auto"
    tier: str | None = None
    trials: int | None = None
    retests: int | None = None
    workers: int | None = None
    max_time_s: float | None = None
    max_gpu_hours: float | None = None
    max_trial_time_s: float | None = None
    max_trial_memory: int | None = None
    storage: str | None = None
    lookahead: int | None = None


def resolve(request: Request, resolve_device: Any) -> tuple[StudySpec, Folders, bool]:
    """The spec that a request means, its folders, and whether the study exists already. Nothing is written.

    Args:
        request: what was asked for.
        resolve_device: turns a device name into "cpu" or "cuda", raising where it is absent.

    Raises:
        UsageError: no budget, a folder that is no study, a study begun with other inputs.
    """
    source = Path(request.study) if request.study and request.study.endswith((".yaml", ".yml")) else None
    values = read_yaml(source) if source is not None else {}
    params = request.params or (values.get("budget") or {}).get("params")
    name = request.name or values.get("name") or (request.study if source is None else _stem(source))
    if name is None and params:
        name = budget_name(params)
    if name is None:
        raise UsageError("a new study needs a budget", "for example: halosearch study --budget-params 20M")
    folders = find_study(request.root, name) if (Path(name) / FILE).exists() else folders_of(request.root, name)
    if is_begun(folders):
        return _continued(request, values, folders, resolve_device), folders, True
    if (folders.study / FILE).exists():  # written by hand, nothing recorded yet
        values = read_yaml(folders.study / FILE) | values
        params = params or (values.get("budget") or {}).get("params")
    _check_free(folders)
    if params is None:
        raise UsageError(
            f"there is no study {name!r} here, and a new one needs a budget",
            "for example: halosearch study --budget-params 20M",
        )
    return _new(request, values, name, resolve_device), folders, False


def _stem(source: Path) -> str | None:
    """A study file's name without its ending; `study.yaml` names nothing."""
    return None if source.name == FILE else source.stem


def is_begun(folders: Folders) -> bool:
    """Whether a run has written the whole study.yaml; one written by hand has no hash of its space."""
    return (folders.study / FILE).exists() and "space_hash" in read_yaml(folders.study / FILE)


def _check_free(folders: Folders) -> None:
    """Refuse to write into folders that hold something else than what a study that never began leaves behind."""
    held = {path.name for path in folders.study.iterdir()} if folders.study.is_dir() else set()
    held = {name for name in held if not name.startswith(".")}  # a file that was being written when a run was killed
    if held - LEFT_BY_A_FALSE_START or (folders.study.exists() and not folders.study.is_dir()):
        raise UsageError(f"{folders.study} exists and is not a study", "choose another name with --name")
    if folders.report.exists() and not (folders.report / "summary.json").exists():
        raise UsageError(f"{folders.report} exists and is not a report", "choose another name with --name")


def _full_path(data: str | None) -> str | None:
    """Where the data lies, whatever folder the study is continued from; names of built-in scenes stay as they are."""
    return data if data is None or data in DIFFICULTIES else str(Path(data).expanduser().resolve())


def _new(request: Request, values: dict[str, Any], name: str, resolve_device: Any) -> StudySpec:
    def pick(flag: Any, key: str, default: Any) -> Any:
        return flag if flag is not None else values.get(key, default)

    max_time_s = pick(request.max_time_s, "max_time_s", None)
    given = values.get("tier") or {}
    named = request.tier or given.get("name")
    if named and named != "custom" and named not in TIERS:
        raise UsageError(f"unknown tier {named!r}", f"tiers are {', '.join(TIERS)}")
    device = resolve_device(values.get("device", "auto") if request.device == "auto" else request.device)
    tier = make_tier(TIERS[named] if named in TIERS else choose_tier(device, max_time_s), given)
    space = tier_space(tier, values.get("space") or {})
    budget = dict(values.get("budget") or {})
    for key, flag in (("params", request.params), ("tolerance", request.tolerance), ("max_macs", request.max_macs)):
        if flag is not None:
            budget[key] = flag
    workers = pick(request.workers, "workers", None)
    lookahead = pick(request.lookahead, "lookahead", default_lookahead(workers))
    retests = pick(request.retests, "retests", tier.retests)
    if isinstance(retests, int):  # only candidates drawn evenly are repeated
        tier = tier.model_copy(update={"uniform": max(tier.uniform, retests)})
    return make_spec(
        {
            **values,
            "name": name,
            "budget": budget,
            "seed": pick(request.seed, "seed", 0),
            "device": device,
            "tier": tier.model_dump(),
            "data": _full_path(pick(request.data, "data", tier.scenes)),
            "sampler": pick(request.sampler, "sampler", POOL),
            "lookahead": lookahead,
            "trials": pick(request.trials, "trials", tier.trials),
            "retests": retests,
            "workers": default_workers(device, lookahead) if workers is None else workers,
            "max_time_s": max_time_s,
            **{name: pick(getattr(request, name), name, None) for name in MAY_LIMIT},
            "space": space.to_dict(),
            "space_hash": space.hash(),
        }
    )


def default_lookahead(workers: Any) -> int:
    """Four moves under way; with more than four workers twice their number, so that none waits for the slowest."""
    return DEFAULT_LOOKAHEAD if not isinstance(workers, int) or workers <= DEFAULT_LOOKAHEAD else 2 * workers


def default_workers(device: str, lookahead: Any) -> int:
    """One worker per core on a CPU (at most as many as proposals allow); one on a GPU."""
    lookahead = lookahead if isinstance(lookahead, int) else DEFAULT_LOOKAHEAD
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, lookahead)) if device == "cpu" else 1


def _continued(request: Request, values: dict[str, Any], folders: Folders, resolve_device: Any) -> StudySpec:
    """The spec on disk, with what was said now: what may change is changed, everything else must agree."""
    spec = make_spec(read_yaml(folders.study / FILE))
    if spec.space_hash != spec.search_space().hash():
        raise UsageError(
            f"the search space in {FILE} was changed after the study began",
            "undo the change, or start another study with --name",
        )
    resolve_device(spec.device)
    named = request.tier or (values.get("tier") or {}).get("name")
    if named is not None and named != spec.tier.name:
        raise UsageError(
            f"the study {spec.name!r} was begun with tier {spec.tier.name}, not {named}",
            "start another study with --name",
        )
    asked = make_spec(_overlaid(spec, request, values))
    check_same_inputs(spec, asked)
    if asked.sampler != "random" and asked.retests > max(asked.tier.uniform, spec.retests):
        raise UsageError(
            f"only {asked.tier.uniform} candidates of the study {spec.name!r} were drawn evenly, and only these can be trained again",
            f"at most --retests {asked.tier.uniform}, or start another study with --name",
        )
    return asked


def _overlaid(spec: StudySpec, request: Request, values: dict[str, Any]) -> dict[str, Any]:
    """The spec's values under those of a study file, under those of the flags."""
    whole = spec.model_dump(mode="json")
    flags = {
        "seed": request.seed,
        "sampler": request.sampler,
        "data": _full_path(request.data),
        "device": None if request.device == "auto" else request.device,
        "trials": request.trials,
        "retests": request.retests,
        "workers": request.workers,
        "max_time_s": request.max_time_s,
        "lookahead": request.lookahead,
        **{name: getattr(request, name) for name in MAY_LIMIT},
    }
    budget = {"params": request.params, "tolerance": request.tolerance, "max_macs": request.max_macs}
    said = {
        key: value for key, value in values.items() if key not in ("budget", "tier", "space", "data", "device", "name")
    }
    whole |= said | {key: value for key, value in flags.items() if value is not None}
    if "data" in values and request.data is None:
        whole["data"] = _full_path(values["data"])
    whole["budget"] |= (values.get("budget") or {}) | {key: value for key, value in budget.items() if value is not None}
    whole["tier"] |= values.get("tier") or {}
    if values.get("space"):
        space = spec.search_space().with_overrides(values["space"])
        whole |= {"space": space.to_dict(), "space_hash": space.hash()}
    return whole


def inputs(spec: StudySpec) -> dict[str, Any]:
    """The fields that decide what a study's numbers mean."""
    return {key: value for key, value in spec.model_dump(mode="json").items() if key not in MAY_CHANGE}


def check_inputs(store: Store, spec: StudySpec) -> None:
    """Refuse a study.yaml whose inputs were edited after the first trial.

    Raises:
        UsageError: naming the field.
    """
    known = store.notes().get("inputs")
    if known is None:
        store.note("inputs", inputs(spec))
        return
    for key, value in inputs(spec).items():
        if known.get(key) != value:
            raise UsageError(
                f"{FILE} says {key} {value}, but the study was begun with {known.get(key)}",
                "undo the change, or start another study with --name",
            )


def data_request(spec: StudySpec, folders: Folders) -> DataRequest:
    """What data the study reads."""
    return DataRequest(
        spec.data,
        spec.seed,
        spec.tier.train_images,
        spec.tier.test_images,
        max(spec.search_space().image_size),
        folders.cache,
    )
