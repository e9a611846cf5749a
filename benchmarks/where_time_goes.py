"""Where does a full-size training step spend its time on this CPU, and how far is it from the practical floor?

    python -m benchmarks.where_time_goes [--model h0] [--batch 2] [--threads 1]

The floor is the roofline's, from this machine's own peaks (a matrix product, a copy) and the network's exact counts. Operators' own time by
torch's profiler, three steps, in groups; what the profiler itself costs is in it.
"""

import argparse
from collections import defaultdict

import torch

from benchmarks.recording import HERE, provenance, table, write
from halosearch.cost.intervals import interval
from halosearch.cost.peaks import measure_peaks
from halosearch.cost.roofline import FLOAT, Setting, floor_s
from halosearch.cost.steps import build_stepper, seconds_per_step
from halosearch.cost.subjects import subject_of
from halosearch.families.halonet.counts import dials_of
from halosearch.families.known import parse_candidate

ROUNDS, STEPS = 7, 3
GROUPS = {
    "products of matrices": ("aten::bmm", "aten::mm", "aten::addmm", "conv2d", "convolution"),
    "copies": ("aten::copy", "aten::cat", "aten::clone"),
    "filling with zeros": ("aten::fill", "aten::zero"),
    "softmax": ("softmax",),
    "norms": ("batch_norm",),
    "activations": ("silu", "relu", "sigmoid"),
    "sums and products of maps": ("aten::add", "aten::mul", "aten::sum", "aten::div"),
    "pooling": ("pool",),
    "attention's own Python": ("halo_attention",),
}


def group_of(name):
    """The first group that an operator is of: words with aten:: are whole names (in place or not), others parts of one."""
    plain = name.rstrip("_")
    for group, words in GROUPS.items():
        if any(plain == word if word.startswith("aten::") else word in name for word in words):
            return group
    return "other"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="h0")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    device, config = torch.device("cpu"), parse_candidate(arguments.model)
    where, peaks = provenance(device), measure_peaks(device)
    stepper = build_stepper(subject_of(config), arguments.batch, device, train=True)
    stepper.run()
    seconds = interval([seconds_per_step(stepper.run, 1, device) for _ in range(ROUNDS)])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(STEPS):
            stepper.run()
    found, calls = defaultdict(float), defaultdict(float)
    operators = {}
    for each in profile.key_averages():
        ms = each.self_cpu_time_total / 1000 / STEPS
        found[group_of(each.key)] += ms
        calls[group_of(each.key)] += each.count / STEPS
        operators[each.key] = [round(ms, 3), each.count / STEPS]
    total, floor = sum(found.values()), floor_s(dials_of(config), Setting(arguments.batch, True, FLOAT), peaks)
    rows = [
        [name, f"{ms:.0f}", f"{100 * ms / total:.0f} %", f"{calls[name]:.0f}"]
        for name, ms in sorted(found.items(), key=lambda pair: -pair[1])
    ]
    page = "\n\n".join(
        [
            "# Where a full-size training step's time goes on a CPU",
            f"{arguments.model}, {arguments.batch} images, {arguments.threads} thread: {seconds.median:.2f} s "
            f"[{seconds.low:.2f}, {seconds.high:.2f}] a step; the practical floor from this machine's peaks "
            f"({peaks.flops / 1e9:.0f} GFLOP/s, {peaks.bandwidth / 1e9:.0f} GB/s) is {floor:.2f} s: **{100 * floor / seconds.median:.0f} % of it "
            "is reached.**",
            table(["group", "ms", "share", "calls"], rows),
        ]
    )
    document = {
        "provenance": where,
        "seconds": seconds.to_dict(),
        "floor_s": float(floor),
        "peaks": peaks.to_dict(),
        "groups_ms": dict(found),
        "operators_ms_and_calls": dict(sorted(operators.items(), key=lambda pair: -pair[1][0])[:60]),
    }
    write("where-time-goes", device, document, page, arguments.folder)


if __name__ == "__main__":
    main()
