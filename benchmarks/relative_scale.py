"""Does the initial scale of the relative tables hide block and halo from short trainings?

    python -m benchmarks.relative_scale [--preset cpu-10m] [--seeds 8] [--processes 2] [--folder benchmarks]

The base of `benchmarks.dials` and single values of block and halo are trained twice, with tables that begin at a standard deviation of
0.02 (this package) and of d^-1/2, d the channels of a head (timm): the same draws, rescaled; same seeds, pictures and order. Expected
before the run: with the larger scale the effects of block and halo on the score are larger. What is compared are the paired
differences of effects over seeds, with intervals that hold for all values together (95 %, Bonferroni, Student's t).
"""

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

from benchmarks.dials import candidate, trained
from benchmarks.recording import HERE, provenance, table, write
from halosearch.families.halonet.network import REL_STD, HaloAttention
from halosearch.proxy import network
from halosearch.spec.presets import PRESETS

SMALL, LARGE = "0.02", "d^-1/2"
VALUES = (("b", "4"), ("b", "16"), ("h", "0"), ("h", "4"))


def rescaled(build):
    """A builder whose relative tables begin at d^-1/2."""

    def built(config, classes):
        trunk = build(config, classes)
        for module in trunk.modules():
            if isinstance(module, HaloAttention):
                for table_ in (module.rel_height, module.rel_width):
                    table_.data.mul_(table_.shape[1] ** -0.5 / REL_STD)
        return trunk

    return built


def trained_at(scale, preset, case):
    """One training in a process of its own, so that the builder that it replaces is nobody else's."""
    if scale == LARGE:
        network.build_trunk = rescaled(network.build_trunk)
    return {"scale": scale, **trained(preset, *case)}


def run(preset, wanted, kept, processes):
    """All trainings, those in `kept` (JSON lines) read from it, the others appended to it as they end."""
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    known = {(line["scale"], line["dial"], line["value"], line["seed"]): line for line in lines}
    kept.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with kept.open("a") as file, ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool:
        left = [(scale, case) for scale, case in wanted if (scale, *case) not in known]
        for future in as_completed([pool.submit(trained_at, scale, preset, case) for scale, case in left]):
            line = future.result()
            known[line["scale"], line["dial"], line["value"], line["seed"]] = line
            file.write(json.dumps(line) + "\n")
            file.flush()
    return {(scale, *case): known[scale, *case]["score"] for scale, case in wanted}


def interval(values, comparisons):
    """Mean with the ends of its interval."""
    half = float(student.ppf(1 - 0.025 / comparisons, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return float(np.mean(values)), float(np.mean(values)) - half, float(np.mean(values)) + half


def words(found):
    return f"{found[0]:+.3f} [{found[1]:+.3f}, {found[2]:+.3f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="cpu-10m")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    preset, seeds, device = PRESETS[arguments.preset], range(arguments.seeds), torch.device("cpu")
    where = provenance(device)
    wanted = [(s, (*case, seed)) for seed in seeds for case in (("", ""), *VALUES) for s in (SMALL, LARGE)]
    kept = Path(arguments.folder) / "results" / f"relative-scale-{preset.name}.jsonl"
    scores = run(preset.name, wanted, kept, arguments.processes)

    def of(scale, case):
        return np.array([scores[scale, *case, seed] for seed in seeds])

    effects = {s: {case: of(s, case) - of(s, ("", "")) for case in VALUES} for s in (SMALL, LARGE)}
    level = interval(of(LARGE, ("", "")) - of(SMALL, ("", "")), 1)
    rows, larger = [], []
    for case in VALUES:
        each = [interval(effects[s][case], len(VALUES)) for s in (SMALL, LARGE)]
        grown = interval(np.abs(effects[LARGE][case]) - np.abs(effects[SMALL][case]), len(VALUES))
        larger += [f"{case[0]}={case[1]}"] if grown[1] > 0 else []
        rows.append(
            [*case, *map(words, each), words(interval(effects[LARGE][case] - effects[SMALL][case], len(VALUES)))]
        )
    page = "\n\n".join(
        [
            "# Does the scale of relative tables hide block and halo?",
            f"**The base scores {level[0]:+.3f} [{level[1]:+.3f}, {level[2]:+.3f}] with {LARGE} against {SMALL}. Effects that are larger with "
            f"{LARGE} beyond the interval: {', '.join(larger) or 'none'}.**",
            f"Base {candidate()}, preset {preset.name} ({preset.rungs[-1]:,} images of {preset.scenes}), {arguments.seeds} seeds, paired. Effects: "
            "score minus the base's at the same scale; intervals hold for the four values together. Expected before the run: larger effects.",
            table(["dial", "value", f"effect at {SMALL}", f"effect at {LARGE}", "difference of the two"], rows),
        ]
    )
    numbers = {
        "scores": {" ".join(map(str, key)): value for key, value in scores.items()},
        "level": level,
        "larger": larger,
    }
    write(f"relative-scale-{preset.name}", device, {"provenance": where, **numbers}, page, arguments.folder)


if __name__ == "__main__":
    main()
