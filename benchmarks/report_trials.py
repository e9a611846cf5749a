"""Records of studies that were never run, as large as one likes: for the report's benchmark and its tests in a browser."""

from dataclasses import replace

import numpy as np

from halosearch.analysis.validation_rows import validation_of
from halosearch.families.halonet.space import DIALS, HaloNetSpace
from halosearch.record.evaluation import ANCHOR, COMPLETE, HELD_OUT, REFERENCE, RETEST, TRIAL, Evaluation
from halosearch.record.trials import TIMED, Trial
from halosearch.report.evidence import Evidence
from halosearch.run.begin import request, resolve

REASONS = (
    "loss is not finite",
    "out of memory on this device",
    "stopped after 1,024 images: not among those that go on",
)


def record(number, rng, space, state):
    """One trial with random dials and numbers that hang together a little."""
    dials = {name: getattr(space, name)[rng.integers(len(getattr(space, name)))] for name in DIALS}
    dials["block_size"] = int(rng.integers(4, 17))
    dials["image_size"] = int(rng.choice((48, 64, 96, 128)))
    dials = {name: value.item() if hasattr(value, "item") else value for name, value in dials.items()}
    params = int(rng.integers(19_000_000, 21_000_000))
    macs = int(10 ** rng.uniform(8, 10))
    costs = {"params": params, "macs": macs, "activations": macs // 200}
    score = float(0.1 + 0.03 * np.log10(macs) * rng.uniform(0.2, 1) + rng.normal(0, 0.01))
    step = float(macs / 2e9 * rng.uniform(0.7, 1.6))
    if state in ("failed", "infeasible", "running"):
        return Trial(number, dials, costs, state, 1, REASONS[int(rng.integers(2))] if state != "running" else "", {})
    rungs = 1 if state == "pruned" else 2
    images = 1024 * rungs
    final = {"score": score, "images_seen": images, "images": 512, "accuracy": {"texture": 0.5}}
    losses = 4.5 - score * 4 * np.linspace(0, 1, 8 * rungs) + rng.normal(0, 0.05, 8 * rungs)
    result = {
        "score": score,
        "scores": [final] * rungs,
        "final": final,
        "curve": [[int(128 * (k + 1)), float(loss)] for k, loss in enumerate(losses)],
        "images_per_s": 90.0,
        "seconds": float(10 * rungs * rng.uniform(0.5, 2)),
    }
    if state == "complete":
        result |= {"step_time_s": step, "step_time_low_s": 0.93 * step, "step_time_high_s": 1.06 * step}
        result["step_time"] = {"seconds": {"median": step}, "memory_bytes": int(macs / 4)}
    return Trial(number, dials, costs, state, 1, REASONS[2] if state == "pruned" else "", result)


def evidence(size, seed=0, name="synthetic", share=(0.6, 0.33, 0.05, 0.02), even=40, untimed=0, **spec):
    """What a summary is made of, for `size` random trials: shares of complete, pruned, failed and infeasible ones.

    The step of the last `untimed` complete ones was not measured.
    """
    rng = np.random.default_rng(seed)
    states = rng.choice(("complete", "pruned", "failed", "infeasible"), size, p=share)
    if share[0]:
        states[: min(even, size)] = "complete"
    trials = [record(number, rng, HaloNetSpace(), str(state)) for number, state in enumerate(states)]
    done = [trial.number for trial in trials if trial.state == "complete"]
    untimed = done[max(0, len(done) - untimed) :]
    trials = [without_step(trial) if trial.number in untimed else trial for trial in trials]
    return around(trials, name=name, even=even, seed=seed, **spec)


def without_step(trial):
    """The trial as it is where its step was not measured."""
    return replace(trial, result={key: value for key, value in trial.result.items() if key not in TIMED})


KINDS = {"retest": RETEST, "final": HELD_OUT}


def rows_of(trials, notes):
    """The rows that trials stand for, one each, and other results by name: `clock`, `reference`, `retest-3`, `final-3-2`."""
    rows = []
    if "clock" in notes:
        rows.append(Evaluation(0, ANCHOR, {}, state=COMPLETE, result=notes["clock"], runs=1))
    if "reference" in notes:
        rows.append(Evaluation(0, REFERENCE, **notes["reference"], runs=1))
    for t in trials:
        ended = {"state": t.state, "result": t.result, "reason": t.reason, "runs": t.runs}
        rows.append(Evaluation(0, TRIAL, t.dials, t.costs, trial=t.number, rung=0, **ended))
    for key, note in notes.items():
        kind, _, rest = key.partition("-")
        if kind in KINDS:
            number, _, repeat = rest.partition("-")
            rows.append(Evaluation(0, KINDS[kind], {}, trial=int(number), repeat=int(repeat or 1), runs=1, **note))
    return rows


def around(trials, name="synthetic", even=40, seed=0, notes=None, description="random numbers, no study", **spec):
    """Evidence around given trials."""
    study = resolve(request(budget_params=20_000_000, name="x", device="cpu", seed=seed), lambda _: "cpu")[0]
    rng = np.random.default_rng(seed + 1)
    done = [trial for trial in trials if trial.state == "complete"]
    if notes is None:
        notes = {
            f"retest-{t.number}": {"state": "complete", "result": {"score": t.result["score"] + rng.normal(0, 0.01)}}
            for t in done[:even]
        }
        notes["clock"] = {"device": {"device": "none"}, "seconds": {"median": 0.3}}
    shown = study.model_dump(mode="json") | {"name": name} | spec
    data = {
        "description": description,
        "task_hash": "0" * 12,
        "images": {"train": 100, "test": 50},
        "unreadable": [],
        "skipped": [],
        "empty_classes": [],
        "unused": 0,
    }
    predicted = {
        str(t.number): t.result["step_time_s"] / 0.3 * float(rng.uniform(0.9, 1.1))
        for t in done
        if "step_time_s" in t.result
    }
    prediction = {"trials": len(done), "parts": 10, "mape": 0.05, "kendall_tau": 0.9, "half_width": 0.1}
    rows = rows_of(trials, notes)
    return Evidence(
        shown,
        rows,
        trials,
        437_807,
        data,
        validation_of(rows, study.uniform),
        ["H4 needs 384-pixel images, so it is not compared with."],
        prediction | {"predicted": predicted} if done else None,
        None,
        even,
        "halosearch study --budget-params 20000000",
    )
