"""Does the clock see differences where there are none? A model against itself, again and again.

    python -m benchmarks.same_model [--device cuda] [--comparisons 20] [--rounds 7]

The claim to fail: at most 1 of 20 comparisons reports a difference.
"""

import argparse

from benchmarks.recording import HERE, provenance, table, write
from halosearch.cost.comparing import compare
from halosearch.cost.devices import resolve_device
from halosearch.cost.timing import TimingPlan, measure
from halosearch.families.halonet.notation import parse_candidate

MODELS = {"cpu": "s=64,b=8,h=2,rb=0.5,l3=1", "cuda": "h0"}
ALLOWED = 1 / 20


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--comparisons", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    where = provenance(device)
    cuda = device.type == "cuda"
    steps = 20 if cuda else 1
    plan = TimingPlan(64 if cuda else 4, arguments.rounds, steps, steps, anchor_size=224 if cuda else 32)
    config = parse_candidate(MODELS[device.type])
    found = []
    for _ in range(arguments.comparisons):
        times = measure({"one": config, "the same": config}, plan, device)
        found.append((compare(times)[0], times))
    differ = sum(each.verdict in ("faster", "slower") for each, _ in found)
    held = differ <= ALLOWED * arguments.comparisons
    rows = [
        [index + 1, f"{each.ratio.median:.3f} [{each.ratio.low:.3f}, {each.ratio.high:.3f}]", each.verdict]
        for index, (each, _) in enumerate(found)
    ]
    page = "\n\n".join(
        [
            "# A model against itself",
            f"**{differ} of {arguments.comparisons} comparisons report a difference: {'the claim holds' if held else 'the claim fails'}** "
            f"(at most 1 of 20). Training step of {MODELS[device.type]}, {plan.batch_size} images, {arguments.rounds} rounds.",
            table(["comparison", "ratio over the same rounds", "verdict"], rows),
            "" if cuda else "On CUDA: unmeasured, no GPU here.",
        ]
    ).rstrip()
    raw = [
        {"comparison": each.to_dict(), "samples_s": [list(timed.samples_s) for timed in times]} for each, times in found
    ]
    write("same-model", device, {"provenance": where, "differ": differ, "comparisons": raw}, page, arguments.folder)


if __name__ == "__main__":
    main()
