import subprocess
import sys

import pytest
import torch
from torch import nn

from halosearch.families.halonet.network import Bottleneck, HaloNet
from halosearch.families.halonet.notation import parse_candidate
from halosearch.families.halonet.published import FAMILY, NAMED
from halosearch.families.halonet.twin import twin_of

SMALL = "s=64,b=8,h=2,rv=1.5,rb=1.5,l3=2,df=512"


@pytest.mark.parametrize("backend", ["sdpa", "tiled"])
def test_networks_of_all_backends_agree_in_outputs_and_gradients(backend):
    torch.manual_seed(0)
    config = twin_of(parse_candidate(SMALL), 0.25)
    networks = [HaloNet(config, 10, backend=backend).double() for backend in ("reference", backend)]
    networks[1].load_state_dict(networks[0].state_dict())
    for network in networks:
        network.eval()  # batch norm over 2 x 2 x 2 positions would magnify rounding
    for network in networks:
        for block in (m for m in network.modules() if isinstance(m, Bottleneck)):
            nn.init.ones_(block.expand[1].weight)  # zero gains would hide the branches
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    outs = [network(images) for network in networks]
    assert (outs[0] - outs[1]).norm() / outs[0].norm() < 1e-11
    for out in outs:
        out.square().sum().backward()
    for (name, a), b in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
        assert (a.grad - b.grad).norm() <= 1e-9 * a.grad.norm() + 1e-15, name


@pytest.mark.parametrize(
    "text",
    [
        "s=75,b=10,h=3,rb=1,l3=2",
        "s=48,b=5,h=1,rb=0.5,l3=1,conv=1",
        "s=64,b=map,h=0,rb=2,l3=1,heads=width",
        "s=64,b=4,h=0,rb=2,l3=1,conv=4",
        "s=64,b=8,h=1,rb=1,l3=1,kinds=caca",
    ],
)
def test_any_member_trains_a_step_and_every_parameter_gets_a_gradient(text):
    torch.manual_seed(0)
    config = twin_of(parse_candidate(text), 0.125)
    network = HaloNet(config, 5).to(memory_format=torch.channels_last)
    for block in (m for m in network.modules() if isinstance(m, Bottleneck)):
        nn.init.ones_(block.expand[1].weight)
    logits = network(
        torch.randn(3, 3, config.image_size, config.image_size).contiguous(memory_format=torch.channels_last)
    )
    assert logits.shape == (3, 5)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_h7_runs_on_maps_that_its_blocks_do_not_tile():
    config = twin_of(FAMILY["h7"], 0.125)
    with torch.no_grad():
        assert HaloNet(config, 3).eval()(torch.randn(1, 3, 600, 600)).shape == (1, 3)


def test_residual_branches_are_silent_at_the_start():
    network = HaloNet(twin_of(parse_candidate(SMALL), 0.125), 4)
    assert all(m.expand[1].weight.count_nonzero() == 0 for m in network.modules() if isinstance(m, Bottleneck))


def test_no_strided_one_by_one_convolution_is_built():
    """oneDNN's backward of one corrupts memory at 6 input channels (torch 2.13); a subsample and a plain one are the same."""
    for config in NAMED.values():
        with torch.device("meta"):
            network = HaloNet(config)
        assert not [
            m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and m.stride != (1, 1)
        ]


@pytest.mark.slow
def test_channel_counts_that_once_crashed_train_in_a_process_of_their_own():
    code = (
        "import torch;from halosearch.families.halonet.network import HaloNet;from halosearch.families.halonet.twin import twin_of;"
        "from halosearch.families.halonet.notation import parse_candidate;torch.set_num_threads(1);"
        "n=HaloNet(twin_of(parse_candidate('s=64,b=8,h=0,rv=4,rb=0.75,l3=2,conv=2'),.125),14).to(memory_format=torch.channels_last);"
        "[n(torch.randn(32,3,64,64).contiguous(memory_format=torch.channels_last)).sum().backward() for _ in range(4)]"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


def test_the_twin_keeps_every_dial_but_widths_and_heads():
    for name in ("h0", "h4", "h7", "halonet50"):
        full, twin = FAMILY[name], twin_of(FAMILY[name], 0.25)
        assert (
            twin.image_size,
            twin.block_size,
            twin.halo_size,
            twin.value_ratio,
            twin.expansion_ratio,
            twin.stage_depths,
        ) == (
            full.image_size,
            full.block_size,
            full.halo_size,
            full.value_ratio,
            full.expansion_ratio,
            full.stage_depths,
        )
        assert twin.base_width == 16
        assert [twin.stage_width(i) // twin.heads[i] for i in range(4)] == [
            full.stage_width(i) // full.heads[i] for i in range(4)
        ]


@pytest.mark.parametrize("backend", ["sdpa", "tiled"])
def test_under_bfloat16_autocast_in_channels_last_the_network_stays_near_its_float32(backend):
    torch.manual_seed(0)
    config = twin_of(parse_candidate(SMALL), 0.25)
    network = HaloNet(config, 10, backend=backend).to(memory_format=torch.channels_last).eval()
    for block in (m for m in network.modules() if isinstance(m, Bottleneck)):
        nn.init.ones_(block.expand[1].weight)
    images = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    exact = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(images)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() / exact.norm() < 0.05
    rounded.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("backend", [pytest.param("sdpa", marks=pytest.mark.long), "tiled"])
def test_the_whole_network_compiles_without_a_graph_break_and_gives_the_same(backend):
    torch.manual_seed(0)
    torch.compiler.reset()
    network = HaloNet(twin_of(parse_candidate(SMALL), 0.125), 5, backend=backend).eval()
    images = torch.randn(2, 3, 64, 64)
    compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="aot_eager")(images)
    assert (compiled - network(images)).norm() <= 1e-5 * compiled.norm()
    compiled.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
