"""Experiments beside the studies, from one size to another and in a detector: their parts against oracles, their pages against their numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import detection, transfer
from benchmarks.judged import verdicts_of
from halosearch.families.known import build, parse_candidate
from halosearch.proxy.data.dataset import TRAIN
from halosearch.proxy.data.scene_drawing import companion_mask, object_mask, scenes_of
from tests.training.pictures import fill

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def pictures():
    return detection.Pictures(held_out=8)


def test_boxes_are_those_of_what_is_drawn(pictures):
    ids, side = np.arange(40), 256
    pixels, boxes, classes = pictures.batch(TRAIN, ids)
    assert pixels.shape == (40, 3, detection.SIZE, detection.SIZE)
    key = (pictures.scenes.seed, detection.SPLITS[TRAIN])
    scenes = scenes_of(detection.philox.uniform(key, torch.as_tensor(ids), detection.DRAWS, detection.DRAWN))
    drawn = torch.stack((object_mask(scenes, side, pictures.scenes.difficulty), companion_mask(scenes, side)), 1) > 0.5
    for scene in range(40):
        for kind in range(2):
            rows, columns = (drawn[scene, kind].any(1 - axis).nonzero()[:, 0] for axis in range(2))
            found = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) * detection.SIZE / side
            assert (found - boxes[scene, kind]).abs().max() < 2 * detection.SIZE / side
    assert set(classes[:, 1].tolist()) == {detection.CLASSES - 1}
    assert torch.equal(classes[:, 0], scenes.classes_N3[:, 0])


def test_what_the_head_is_asked_for_is_found_again_and_scores_one(pictures):
    """Heat and sides as `targets` wants them, read by `detections`, are the boxes, to the cell's exactness."""
    _, boxes, classes = pictures.batch(TRAIN, np.arange(24))
    cells = detection.SIZE // detection.STRIDE
    heat, at = detection.targets(boxes, classes, cells)
    assert (heat == 1).sum() == 48
    assert heat.amin() >= 0
    middle = detection.centres(torch.stack((at % cells, at // cells), 2))
    sides = torch.zeros(24, 4, cells * cells)
    distances = torch.cat((middle - boxes[..., :2], boxes[..., 2:] - middle), 2)
    sides.scatter_(2, at[:, None].expand(-1, 4, -1), distances.movedim(1, 2))
    logits = torch.logit(heat, 1e-6)
    found = detection.detections(logits, sides.view(24, 4, cells, cells))
    truth = list(zip(boxes, classes, strict=True))
    kept = [tuple(part[:2] for part in one) for one in zip(*found, strict=True)]
    both, half = detection.average_precision(truth, kept)
    assert both == half == pytest.approx(1.0)
    swapped = [(scores, (kinds + 1) % detection.CLASSES, places) for scores, kinds, places in kept]
    assert detection.average_precision(truth, swapped)[0] < 0.05
    assert detection.loss_of(logits, sides.view(24, 4, cells, cells), boxes, classes) < detection.loss_of(
        -logits, sides.view(24, 4, cells, cells) + 8, boxes, classes
    )


def test_a_detector_learns_a_batch(pictures):
    torch.manual_seed(0)
    model = detection.Detector(build(parse_candidate(detection.ARMS["window 4"]), detection.CLASSES))
    pixels, boxes, classes = pictures.batch(TRAIN, np.arange(4))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    losses = []
    for _ in range(6):
        loss = detection.loss_of(*model(pixels), boxes, classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_torn_line_of_results_is_done_again(tmp_path):
    path = tmp_path / "detection.jsonl"
    rows = [{"arm": arm, "seed": 0, "images": 64, "held_out": 8} for arm in ("conv", "window 4")]
    assert detection.kept_rows(path) == []
    detection.append(path, rows[0])
    with path.open("a") as file:
        file.write('{"arm": "window 4", "se')  # killed while it was written
    assert detection.kept_rows(path) == rows[:1]
    detection.append(path, rows[1])
    assert detection.kept_rows(path) == rows, "what comes behind a torn line is not lost"


@pytest.mark.slow
def test_a_transfer_runs_through_all_its_arms_and_goes_on(tmp_path, monkeypatch):
    data = fill(tmp_path / "pictures")
    monkeypatch.setattr(transfer, "BEFORE", 1)
    monkeypatch.setattr(transfer, "BATCH", 8)
    told = []
    models = {arm: {0: transfer.train(arm, 0, str(data), tmp_path, told.append)} for arm in transfer.arms()}
    assert any("8 embeddings interpolated" in line for line in told)
    document = json.loads(json.dumps(transfer.document_of(models)))
    page = transfer.page_of(document)
    for arm in transfer.arms():
        assert f"| {arm} |" in page
    assert page.count("**undecided**") == len(transfer.EXPECT), "one seed decides nothing"
    weights = [
        torch.load(tmp_path / f"models/{transfer.name_of(arm, 0)}/weights.pt") for arm in ("interpolated", "zero")
    ]
    assert not torch.equal(weights[0]["stages.0.0.spatial.0.rel_height"], weights[1]["stages.0.0.spatial.0.rel_height"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("models/*/weights.pt")}
    transfer.train("zero", 0, str(data), tmp_path, told.append)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("models/*/weights.pt")}


def test_verdicts_are_paired_by_seed():
    seeds = range(6)
    scores = {"a b": {n: n + 1.0 for n in seeds}, "c": {n: n + 0.01 * (n % 2) for n in seeds}, "d": {0: 5.0}}
    above, few = verdicts_of(["score(a b) > score(c)", "score(d) > score(c)"], scores)
    assert "**confirmed**" in above
    assert "**undecided**; 1 paired" in few


@pytest.mark.parametrize("module", [transfer, detection])
def test_a_page_says_what_its_numbers_say(module):
    name = f"{module.__name__.partition('.')[2]}-cpu"
    document = json.loads((FOLDER / "results" / f"{name}.json").read_text())
    assert (FOLDER / f"{name}.md").read_text().startswith(module.page_of(document))
    assert document["expect"] == list(module.EXPECT), "what was expected is what is judged"
