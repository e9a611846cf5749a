"""The Triton kernels without a GPU: in the interpreter, mutated, and compiled for sm_90 and sm_89. Needs the extra `triton`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
from benchmarks import step_model
from benchmarks.offline_kernels import SHARED_LIMIT

HERE = Path(__file__).parent
SPILL = {90: 128, 89: 192}
"""Bytes of a thread's registers that may live in local memory."""
MUTATIONS = {
    "padded keys are not hidden": (
        "tl.where(real[None, :], logits_of(q, k, down, across, eh, ew) * base2",
        "(logits_of(q, k, down, across, eh, ew) * base2)\n        s = tl.where(real[None, :] | True, s",
    ),
    "tables are read one row late": ("index = j - position[:, None] + WIN - 1", "index = j - position[:, None] + WIN"),
    "rows and columns are exchanged": ("relative_logits(q, RH, ry,", "relative_logits(q, RH, rx,"),
    "the scale is left out of dk": ("dk * scale", "dk"),
    "slots beside the map are taken for keys": ("(jx < WIN) & (kx >= 0) & (kx < W)", "(jx < WIN)"),
    "dq is written as if it were alone": (
        "HQ * WQ * sdq, WQ * sdq, sdq, head",
        "HQ * WQ * D, WQ * D, D, head",
    ),
    "delta is left out": ("(dp - delta[:, None])", "dp"),
    "table gradients of the height only": ("dq = tl.dot(dtw, tw, dq", "dq = tl.dot(dtw, tw * 0, dq"),
    "the fold leaves the last window out": ("iy in tl.static_range(2 * REACH + 1)", "iy in tl.static_range(2 * REACH)"),
    "strided queries begin at the block": ("oy = (by * B + S - 1) // S", "oy = by * B // S"),
    "a later launch begins at the first image again": ("n = N0 + tl.program_id(2)", "n = tl.program_id(2)"),
}


def interpreted(*arguments):
    env = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, HERE / "triton_interpreted.py", *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 2e-6), pytest.param("fp16", 2e-3, marks=pytest.mark.long)])
def test_outputs_and_gradients_are_those_of_the_explicit_form(dtype, tolerance):
    assert max(interpreted("grid", dtype)) < tolerance
    assert max(interpreted("exact", dtype)) < tolerance


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutation",
    [name if index % 2 else pytest.param(name, marks=pytest.mark.long) for index, name in enumerate(MUTATIONS)],
)
def test_a_mutated_kernel_is_caught(mutation):
    assert max(interpreted("grid", "fp32", *MUTATIONS[mutation])) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "names"),
    [
        (90, ("h0", "h1", "h2", "h3", "h4")),
        pytest.param(89, ("h0", "h4", "h7"), marks=pytest.mark.long),
        pytest.param(90, ("h5", "h6", "h7"), marks=pytest.mark.long),
    ],
)
def test_compiled_no_kernel_spills_or_exceeds_shared_memory(capability, names):
    options = [
        "--targets",
        str(capability),
        "--models",
        *names,
        "--candidates",
        "0",
        "--widths",
        "24",
        "512",
        "--lines",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.offline_kernels", *options],
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    norms = {f"{each}_kernel" for each in ("moments", "finish_moments", "apply", "sums", "input_gradient")}
    assert {row["kernel"] for row in rows} == {"forward", "backward", "queries", "keys"} | norms
    assert not [row for row in rows if row["kernel"] in norms and row["spilled_bytes"]]
    limit = SHARED_LIMIT[str(capability)]
    assert [row for row in rows if row["spilled_bytes"] > SPILL[capability] or row["shared_bytes"] > limit] == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "measured"), [("h1", 1183), ("h4", 1382)])
def test_the_model_of_a_step_launches_nearly_what_a_gpu_did(name, measured):
    """An H100 by its profiler (results/gpu-h100.jsonl), whose convolutions and sums launch more than one kernel now and then."""
    ledger = step_model.counted(step_model.places_here(), name)
    assert 0.9 < sum(ledger.launches.values()) / measured <= 1.0
    kernels = {launch.name for launch in ledger.launched}
    assert {"forward_kernel", "fold_kernel", "apply_kernel"} <= kernels
    assert not [
        each for each in ledger.launches if each.startswith(("silu", "native_batch_norm", "cat"))
    ]  # they are fused
