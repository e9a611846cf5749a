"""The fused norm without a GPU: its kernels in the interpreter, mutated; and on a CPU the module is torch's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from halosearch.families.norm import Norm

SCRIPT = Path(__file__).parent / "norm_interpreted.py"
MUTATIONS = {
    "rows beside the map are counted": ("tl.where((rows < M)[:, None], _tile", "tl.where((rows < M)[:, None] | True, _tile"),
    "parts are joined as if all were alike": ("apart * apart * rows", "apart * apart * 0"),
    "the variance is not unbiased": ("total / (M - 1.0)", "total / M"),
    "the gradient's mean is left": ("g - (_channel(SUMS, c, C) + hat", "g - (hat"),
    "the scale is left out of the gradient": ("g = g * scale if JOIN", "g = g if JOIN"),
    "the shortcut's gradient is scaled": ("_store(DR, g, rows", "_store(DR, g * scale, rows"),
    "SiLU's slope is its sigmoid": ("g * s * (1.0 + z * (1.0 - s))", "g * s"),
}  # fmt: skip


def interpreted(*arguments):
    env = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, SCRIPT, *arguments], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_outputs_gradients_and_running_statistics_are_those_of_torch():
    pytest.importorskip("triton")
    found = interpreted()
    assert max(found["norm"]) < 5e-6
    assert max(found["projection"]) < 1e-5
    assert found["joined"] == [0, 0]  # gradients of q, k and v already lie beside each other


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutation",
    [name if index % 3 == 0 else pytest.param(name, marks=pytest.mark.long) for index, name in enumerate(MUTATIONS)],
)
def test_a_mutated_kernel_is_caught(mutation):
    pytest.importorskip("triton")
    assert max(interpreted(*MUTATIONS[mutation])["norm"]) > 1e-4


@pytest.mark.parametrize("act", ["silu", "relu", None])
def test_on_a_cpu_it_is_torchs_norm_and_activation(act):
    torch.manual_seed(0)
    x, r = torch.randn(2, 4, 5, 4, 4).unbind(0)
    ours, plain = Norm(5, act), torch.nn.BatchNorm2d(5)
    after = {"silu": F.silu, "relu": F.relu, None: lambda y: y}[act]
    assert torch.equal(ours(x), after(plain(x)))
    assert torch.equal(Norm(5).joined(x, r, 0.5, act), after(r + 0.5 * torch.nn.BatchNorm2d(5)(x)))
    assert ours.state_dict().keys() == plain.state_dict().keys()
