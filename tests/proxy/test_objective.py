import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from halosearch.proxy.data.dataset import Batch, DataReport, Dense, Factor
from halosearch.proxy.objective import LOSS_SCALE, part_losses, part_names, training_loss
from halosearch.proxy.scoring import evaluate


class Described:
    """Eight images with two factors and two groups of dense targets, standardised."""

    factors = (Factor("shape", 3), Factor("colour", 2))
    dense = (Dense("place", 2), Dense("size", 1))
    report = DataReport("eight", {})

    def __init__(self):
        rng = torch.Generator().manual_seed(0)
        self.labels = torch.randint(0, 2, (8, 2), generator=rng)
        raw = torch.randn(8, 3, generator=rng)
        self.targets = (raw - raw.mean(0)) / raw.std(0, unbiased=False)

    def size(self, split):
        return 8

    def batch(self, split, ids, image_size, augment_key):
        return Batch(
            torch.zeros(len(ids), 3, image_size, image_size, dtype=torch.uint8), self.labels[ids], self.targets[ids]
        )


@pytest.fixture
def data():
    return Described()


def knowing(data, share):
    """Outputs between knowing nothing (0) and everything (1)."""
    logits = [40.0 * share * F.one_hot(data.labels[:, i], f.classes).float() for i, f in enumerate(data.factors)]
    return torch.cat([*logits, share * data.targets], 1)


def test_ignorance_is_one_and_knowledge_nothing_in_every_part(data):
    assert part_names(data) == ["shape", "colour", "place", "size"]
    nothing = part_losses(knowing(data, 0), data.labels, data.targets, data)
    assert nothing.shape == (8, 4)
    assert nothing.mean(0).tolist() == pytest.approx([1] * 4, rel=1e-5)
    assert part_losses(knowing(data, 1), data.labels, data.targets, data).max() < 1e-6


def test_what_is_minimised_is_the_scaled_mean_or_without_dense_targets_the_sum_of_cross_entropies(data):
    outputs = knowing(data, 0.05)
    expected = part_losses(outputs, data.labels, data.targets, data, 0.1).mean()
    assert training_loss(outputs, data.labels, data.targets, data, 0.1).item() == pytest.approx(
        LOSS_SCALE * expected.item()
    )
    data.dense = ()
    labels_only = training_loss(outputs[:, :5], data.labels, data.targets[:, :0], data, 0.0)
    by_hand = -sum(
        outputs[:, s].log_softmax(1).gather(1, data.labels[:, i : i + 1]).mean()
        for i, s in enumerate((slice(3), slice(3, 5)))
    )
    assert labels_only.item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_the_score_is_one_minus_the_mean_loss_of_the_parts_and_says_each(data):
    outputs = knowing(data, 0.05)

    class Fixed(torch.nn.Module):
        def forward(self, x):
            return outputs[: len(x)]

    found = evaluate(Fixed(), data, "test", 32, torch.device("cpu"), 8)
    losses = part_losses(outputs, data.labels, data.targets, data).mean(0)
    assert found.score == pytest.approx(1 - losses.mean().item(), rel=1e-5)
    assert list(found.parts.values()) == pytest.approx((1 - losses).tolist(), rel=1e-4)
    assert found.cross_entropy["shape"] == pytest.approx(losses[0].item() * math.log(3), rel=1e-5)
    assert set(found.to_dict()) >= {"parts", "accuracy", "score"}
    assert np.isfinite(found.score)
