"""The page of `benchmarks.gpu`, from its lines."""

from benchmarks.recording import table


def _ms(measured):
    return (
        "-"
        if not measured
        else f"{1e3 * measured['median']:.1f} [{1e3 * measured['low']:.1f}, {1e3 * measured['high']:.1f}]"
    )


def page_of(lines, file):
    """Markdown; a stage that did not end is named with its reason."""
    by = {line["stage"]: line for line in lines}
    where = by.get("provenance", {})
    parts = ["# The first minutes on a GPU"]
    if "flops_per_s" in by.get("environment", {}):
        found = by["environment"]
        parts.append(
            f"Peaks of this device, measured: {found['flops_per_s'] / 1e12:.0f} TFLOP/s (matrix product), "
            f"{found['bytes_per_s'] / 1e12:.2f} TB/s (copy, read and written bytes)."
        )
    parts += _correct(by.get("compile and correct", {})) + _norm(by.get("norm", {}))
    parts += _steps([line for line in lines if "user_s" in line]) + _layers(by.get("layers", {}))
    parts += _pictures("Scenes drawn here and on a CPU", by.get("pictures", {}))
    parts += _pictures("Stored images cropped and resized here and on a CPU", by.get("folder", {}))
    parts += _norm_tiles(by.get("norm tiles", {}))
    parts += _training(by.get("training", {})) + _trial(by.get("trial", {}))
    parts += _tiles(by.get("tiles", {}))
    for line in lines:
        if "gradients" in line:
            worst = ", ".join(f"{name} {value:.2g}" for value, name in line["gradients"]["worst"])
            parts.append(f"{line['stage']}: gradients that differ most from the eager ones, relative: {worst}.")
    reasons = [(line["stage"], line.get("error") or line.get("skipped")) for line in lines]
    missing = [f"{stage}: {reason}" for stage, reason in reasons if reason]
    parts += ["Not measured: " + "; ".join(missing) + "."] if missing else []
    known = ("torch", "triton", "cuda", "cudnn", "precision", "commit")
    versions = ", ".join(f"{key} {where[key]}" for key in known if where.get(key))
    parts.append(
        f"{where.get('device')}; {versions}; {where.get('date')}.\n"
        f"Command: `{where.get('command')}`. Raw numbers: `results/{file}`."
    )
    return "\n\n".join(parts) + "\n"


def _correct(found):
    if "worst" not in found:
        return []
    rows = [[*key.split(), f"{error:.2g}"] for key, error in found["worst"].items()]
    unequal = found["not_equal_twice"]
    said = f"{len(found['rows'])} cases; two runs were equal bit by bit in {len(found['rows']) - len(unequal)}."
    failed = "; ".join(f"{each['job']}: {each['error']}" for each in found["failed"])
    return [
        "## Is the attention right?",
        "Worst relative error of the output and five gradients over layers of H0, H4, H7 and odd ones, against float64.",
        table(["backend", "precision", "worst error"], rows),
        said + (f" Failed: {failed}." if failed else ""),
    ]


def _norm(found):
    if "rows" not in found:
        return []
    rows = [
        [row["map"], str(tuple(row["shape"])), f"{row['error']:.2g}", row["fused_us"], row["separate_us"]]
        for row in found["rows"]
    ]
    return [
        "## Batch norm with what follows it as one operator",
        "Forward and back, microseconds of the device, beside torch's own operators.",
        table(["map", "shape", "error", "fused", "separate"], rows),
    ]


def _norm_tiles(found):
    """For every map the fastest of the tiles tried, beside the slowest: microseconds of all its kernels together."""
    if "rows" not in found:
        return []
    by_map = {}
    for name, *tile, kernels in found["rows"]:
        by_map.setdefault(name, []).append((sum(kernels.values()), tile))
    rows = [[name, *min(each)[1], min(each)[0], max(each)[0]] for name, each in by_map.items()]
    header = ["map", "tile", "summed tile", "parts", "microseconds", "slowest tried"]
    return ["## Best tile of the fused norm", table(header, rows)]


def _pictures(title, found):
    if "sizes" not in found:
        return []
    rows = [
        [
            size,
            each["levels_apart"],
            f"{each['share_of_bytes_apart']:.2g}",
            f"{each['targets_apart']:.2g}",
            each["images_per_s"],
        ]
        for size, each in found["sizes"].items()
    ]
    header = ["pixels", "most levels apart", "share of bytes apart", "most apart of a target", "images/s"]
    return [f"## {title}", table(header, rows)]


def _training(found):
    if "rows" not in found:
        return []
    rows = [
        [
            row["how"],
            ", ".join(f"{score:.6f}" for score in row["scores"]),
            row["images_per_s"],
            row["train_s"],
            row["total_s"],
        ]
        for row in found["rows"]
    ]
    busy = f"The device computes for {found['device_s']:.1f} s of such a training." if "device_s" in found else ""
    header = ["how", "scores", "images/s", "training, s", "whole, s"]
    return ["## A twin trained, step by step and as a graph", table(header, rows), *([busy] if busy else [])]


def _steps(lines):
    if not lines:
        return []
    rows = [
        [
            line["stage"].removeprefix("step "),
            line["batch"],
            _ms(line["user_s"]),
            _ms(line["device_s"]),
            line.get("launches", "-"),
            f"{line['memory_bytes'] / 1e9:.1f}",
        ]
        for line in lines
    ]
    return [
        "## What does a training step cost?",
        "Median of seven rounds with its interval; the device's step is a replayed CUDA graph.",
        table(["model", "images", "user's step, ms", "device's step, ms", "launches", "GB"], rows),
    ]


def _layers(found):
    if "rows" not in found:
        return []
    rows = [[row["layer"], row["backend"], row["us"]] for row in found["rows"]]
    return ["## Attention layers, forward and back", table(["layer", "backend", "microseconds"], rows)]


def _tiles(found):
    if "best" not in found:
        return []
    rows = [[name, *value] for name, value in found["best"].items()]
    header = ["layer and kernel", "microseconds", "queries", "keys", "warps", "stages", "grid"]
    return ["## Best tile of every kernel", table(header, rows)]


def _trial(found):
    if "rows" not in found:
        return []
    parts = ["step_time_s", "part_times_s", "zero_cost_of_s", "train_s"]
    rows = [
        [
            which,
            row["total_s"],
            *(row.get(part, "-") for part in parts),
            row.get("images_per_s") or "-",
            row.get("state"),
        ]
        for which, row in zip(("first", "again"), found["rows"], strict=False)
    ]
    header = [
        "evaluation",
        "whole, s",
        "step timed",
        "parts timed",
        "zero-cost",
        "trained and scored",
        "images/s",
        "state",
    ]
    return ["## One evaluation as a worker runs it", f"Of {found['candidate']}.", table(header, rows)]
