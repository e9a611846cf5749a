"""G2: what does a training step cost? The family, EfficientNets and timm's HaloNet in the same rounds.

    python -m benchmarks.step_times [--device cuda] [--rounds 7] [--batch-size 64] [--models h0 h1 efficientnet-b0]

Models of timm take part where timm can be imported. `--compile`: through torch.compile.
"""

import argparse

from benchmarks.recording import HERE, provenance, table, write
from halosearch.cost.comparing import compare
from halosearch.cost.devices import resolve_device
from halosearch.cost.peaks import measure_peaks
from halosearch.cost.roofline import Setting, floor_s
from halosearch.cost.subjects import is_timm, subject_of, timm_subject
from halosearch.cost.timing import TimingPlan, measure
from halosearch.errors import EnvironmentFault
from halosearch.families.halonet.counts import dials_of
from halosearch.families.halonet.published import FAMILY
from halosearch.families.known import parse_candidate
from halosearch.gpu_faults import is_out_of_memory

PAIRS = {f"h{i}": f"efficientnet-b{i}" for i in range(8)}
ON_A_CPU = [
    "h0",
    "efficientnet-b0",
    "h1",
    "efficientnet-b1",
    "h2",
    "efficientnet-b2",
    "h3",
    "efficientnet-b3",
    "resnet-50",
]


def measured(names, plan, device):
    """Step times of models in the same rounds; reasons for those that did not run."""
    subjects, missing = {}, {}
    for name in names:
        try:
            subjects[name] = timm_subject(name) if is_timm(name) else subject_of(parse_candidate(name))
        except EnvironmentFault as error:
            missing[name] = error.sentence
    try:
        return measure(subjects, plan, device), missing
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return [], missing | dict.fromkeys(subjects, "out of memory")


def groups_of(names, device):
    """On CUDA a HaloNet with its EfficientNet at a time, so that both fit; on a CPU all at once."""
    if device.type != "cuda":
        return [names]
    pairs = [[name, PAIRS[name]] if PAIRS[name] in names else [name] for name in names if name in PAIRS]
    paired = {name for pair in pairs for name in pair}
    return pairs + [[name] for name in names if name not in paired]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    parser.add_argument("--models", nargs="*")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    cuda = device.type == "cuda"
    where = provenance(device)
    names = arguments.models or ([*PAIRS, *PAIRS.values(), "timm:halonet_h1@256"] if cuda else ON_A_CPU)
    steps, size, anchor = (20, 64, 224) if cuda else (1, 2, 64)
    batch = arguments.batch_size or size
    plan = TimingPlan(batch, arguments.rounds, steps, steps, anchor_size=anchor, compiled=arguments.compile)
    peaks = measure_peaks(device)
    rows, raw, notes = [], [], []
    for group in groups_of(names, device):
        times, missing = measured(group, plan, device)
        notes += [f"{name}: {reason}" for name, reason in missing.items()]
        ratios = {each.name: each.ratio for each in compare(times)} if times else {}
        for each in times:
            floor = (
                None
                if each.name not in FAMILY
                else float(floor_s(dials_of(FAMILY[each.name]), Setting(batch, True, 2 if cuda else 4), peaks))
            )
            against = ratios.get(each.name)
            rows.append(
                [
                    each.name,
                    f"{1e3 * each.seconds.median:.1f} [{1e3 * each.seconds.low:.1f}, {1e3 * each.seconds.high:.1f}]",
                    f"{1e3 * each.user_seconds.median:.1f}",
                    f"{batch / each.seconds.median:.1f}",
                    "-" if floor is None else f"{100 * floor / each.seconds.median:.0f} %",
                    "1" if against is None else f"{against.median:.2f} [{against.low:.2f}, {against.high:.2f}]",
                    f"{each.ratio_to_anchor.median:.2f}",
                ]
            )
            raw.append(each.to_dict() | {"floor_s": floor, "group": group})
    header = [
        "model",
        "device's step, ms" if cuda else "step, ms",
        "user's step, ms",
        "images/s",
        "share of floor",
        f"over {names[0] if not cuda else 'its HaloNet'}",
        "x anchor",
    ]
    page = "\n\n".join(
        [
            "# What a training step costs",
            f"{batch} images a step, {arguments.rounds} interleaved rounds, medians with 95 % intervals; floor: practical roofline on this device's "
            f"own peaks ({peaks.flops / 1e9:.0f} GFLOP/s, {peaks.bandwidth / 1e9:.1f} GB/s).",
            table(header, rows),
            *([f"Not measured: {'; '.join(notes)}."] if notes else []),
            ""
            if cuda
            else "CUDA (batch 64, bfloat16, H1 against timm, H4 against EfficientNet-B4, H7's memory): unmeasured, no GPU here.",
        ]
    ).rstrip()
    write(
        "step-times",
        device,
        {"provenance": where, "peaks": peaks.to_dict(), "measurements": raw, "missing": notes},
        page,
        arguments.folder,
    )


if __name__ == "__main__":
    main()
