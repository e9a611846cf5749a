"""Attention against convolution in the last stage of a detector's backbone, on drawn scenes that know their boxes.

    python -m benchmarks.detection [--seeds 0,1,2,3,4] [--images 4096] [--root .] [--device cpu]

An example of `halosearch.families.backbone.Backbone` in a detector, and an experiment: HaloNets that differ in their last stage only get the
same small head (three maps merged at stride 8; a heat map per class whose peaks are centres, and a box at every centre), and are trained from
scratch on the same scenes in the same order. Two boxes a picture: a contour of one of six classes, and its companion. What is judged is
COCO's average precision (pycocotools) on held-out scenes. Each arm and seed is kept when it is done (detection.jsonl in --root), so that the
same line goes on; seeds may be shared among processes.

What is expected stands in EXPECT, after the paper (attention in the last stage of a ResNet-50 with SE: 44.5 to 45.2 box AP with b=8, 45.4
with b=32), and was committed before the first training.
"""

import argparse
import contextlib
import io
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.judged import spread, verdicts_of
from benchmarks.recording import HERE, provenance, table, write
from halosearch.cost.devices import resolve_device
from halosearch.errors import EnvironmentFault
from halosearch.families.backbone import Backbone
from halosearch.families.known import build, count, parse_candidate
from halosearch.proxy.data import philox
from halosearch.proxy.data.dataset import HELD_OUT, TRAIN
from halosearch.proxy.data.dense_scenes import DRAWN, SPLITS, DenseScenes
from halosearch.proxy.data.scene_drawing import COMPANION_RADIUS, CONTOURS, DRAWS, TURN, contour, scenes_of

VERSION, DATA_SEED = "scenes-easy-2", 21
SIZE, STRIDE = 128, 8
CLASSES = len(CONTOURS) + 1
"""Contours, and the companion as the last."""
HELD_OUT_IMAGES, BATCH, RATE, WARM = 512, 32, 1e-3, 0.1
WIDTH, KEPT = 64, 20
"""Channels of the head; boxes of a picture that are handed to the scorer."""
BASE = "s=128,b={},h={},rv=1,rb=1,depths=1-1-1-1,conv={}"
ARMS = {"conv": BASE.format(4, 0, 4), "window 4": BASE.format(2, 1, 3), "whole map": BASE.format(4, 0, 3)}
EXPECT = ("score(window 4) > score(conv)", "score(whole map) > score(conv)", "score(whole map) > score(window 4)")


def boxes_of(scenes, difficulty):
    """Boxes (N, 2, 4) of contour and companion, left, top, right, bottom in shares of the side; not occluded, cut at the edges."""
    angle_A = torch.arange(720) * (TURN / 720)
    reach_NA = scenes.radius_N[:, None] * (
        1 + difficulty.amplitude / 1.5 * contour(scenes, angle_A.expand(len(scenes.radius_N), -1))
    )
    edge_NA2 = scenes.centre_N2[:, None] + torch.stack((reach_NA * angle_A.cos(), reach_NA * angle_A.sin()), 2)
    whole_N4 = torch.cat((edge_NA2.amin(1), edge_NA2.amax(1)), 1)
    companion_N4 = torch.cat((scenes.far_N2 - COMPANION_RADIUS, scenes.far_N2 + COMPANION_RADIUS), 1)
    return torch.stack((whole_N4, companion_N4), 1).clamp(0, 1)


class Pictures:
    """Scenes with boxes in pixels and classes, the same for every arm."""

    def __init__(self, seed=DATA_SEED, held_out=HELD_OUT_IMAGES):
        self.scenes = DenseScenes(VERSION, seed, -(-held_out // 4))

    def batch(self, split, ids):
        """Pictures (N, 3, S, S) float, boxes (N, 2, 4) in pixels, classes (N, 2)."""
        pixels = self.scenes.batch(split, np.asarray(ids), SIZE, None).images
        key = (self.scenes.seed, SPLITS[split])
        scenes = scenes_of(philox.uniform(key, torch.as_tensor(ids), DRAWS, DRAWN))
        companion = torch.full_like(scenes.classes_N3[:, 0], CLASSES - 1)
        classes_N2 = torch.stack((scenes.classes_N3[:, 0], companion), 1)
        return pixels.float() / 127.5 - 1, boxes_of(scenes, self.scenes.difficulty) * SIZE, classes_N2


class Detector(nn.Module):
    """Heat (N, C, M, M) as logits and boxes (N, 4, M, M), the distances of the four sides from a cell's centre in pixels."""

    def __init__(self, network):
        super().__init__()
        self.backbone = Backbone(network, (8, 16, 32))
        self.lateral = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for channels in self.backbone.out_channels)
        self.merge = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.SiLU())
        self.heat, self.box = nn.Conv2d(WIDTH, CLASSES, 1), nn.Conv2d(WIDTH, 4, 1)
        nn.init.constant_(self.heat.bias, -math.log(99))  # one cell in a hundred is a centre

    def forward(self, pictures):
        """Of pictures (N, 3, H, W)."""
        merged = None
        for lateral, each in reversed(list(zip(self.lateral, self.backbone(pictures).values(), strict=True))):
            own = lateral(each)
            merged = own if merged is None else own + F.interpolate(merged, size=own.shape[-2:])
        x = self.merge(merged)
        return self.heat(x), STRIDE * F.softplus(self.box(x))


def centres(cells):
    """Pixels of cells' centres."""
    return (cells + 0.5) * STRIDE


def targets(boxes_NB4, classes_NB, cells):
    """Heat (N, C, M, M): 1 at the cell of a centre, a Gaussian around it; and the cells (N, B) of the centres, row-major."""
    middle_NB2 = (boxes_NB4[..., :2] + boxes_NB4[..., 2:]) / 2
    at_NB2 = (middle_NB2 / STRIDE).long().clamp(0, cells - 1)
    deviation_NB2 = ((boxes_NB4[..., 2:] - boxes_NB4[..., :2]) / STRIDE / 10).clamp(min=0.4)
    away = [(torch.arange(cells) - at_NB2[..., i, None]) / deviation_NB2[..., i, None] for i in range(2)]
    bumps_NBMM = torch.exp(-0.5 * (away[1][..., :, None] ** 2 + away[0][..., None, :] ** 2))
    heat = torch.zeros(len(boxes_NB4), CLASSES, cells, cells)
    for box in range(boxes_NB4.shape[1]):
        picture = torch.arange(len(heat))
        heat[picture, classes_NB[:, box]] = torch.maximum(heat[picture, classes_NB[:, box]], bumps_NBMM[:, box])
    return heat, at_NB2[..., 1] * cells + at_NB2[..., 0]


def loss_of(heat, sides, boxes_NB4, classes_NB):
    """Focal loss of the heat, which forgives cells near a centre (arXiv:1808.01244), and the smooth L1 distance of the sides at centres."""
    wanted, at_NB = (each.to(heat.device) for each in targets(boxes_NB4, classes_NB, heat.shape[-1]))
    chance, positive = heat.sigmoid(), wanted == 1
    hit = -F.logsigmoid(heat) * (1 - chance) ** 2
    missed = -F.logsigmoid(-heat) * chance**2 * (1 - wanted) ** 4
    focal = torch.where(positive, hit, missed).sum() / positive.sum()
    found_NB4 = sides.flatten(2).gather(2, at_NB[:, None].expand(-1, 4, -1)).movedim(1, 2)
    cells = heat.shape[-1]
    middle_NB2 = centres(torch.stack((at_NB % cells, at_NB // cells), 2))
    boxes = boxes_NB4.to(heat.device)
    sides_NB4 = torch.cat((middle_NB2 - boxes[..., :2], boxes[..., 2:] - middle_NB2), 2)
    return focal + F.smooth_l1_loss(found_NB4 / STRIDE, sides_NB4 / STRIDE)


def detections(heat, sides):
    """The best peaks of every picture: scores (N, K), classes (N, K), boxes (N, K, 4) in pixels."""
    chance, cells = heat.sigmoid(), heat.shape[-1]
    peaks = chance * (F.max_pool2d(chance, 3, 1, 1) == chance)
    scores, places = peaks.flatten(1).topk(min(KEPT, peaks[0].numel()))
    classes, at = places // cells**2, places % cells**2
    sides_NK4 = sides.flatten(2).gather(2, at[:, None].expand(-1, 4, -1)).movedim(1, 2)
    middle = centres(torch.stack((at % cells, at // cells), 2))
    return scores, classes, torch.cat((middle - sides_NK4[..., :2], middle + sides_NK4[..., 2:]), 2).clamp(0, SIZE)


def average_precision(truth, found):
    """COCO's AP (IoU 0.5 to 0.95) and AP at 0.5, by pycocotools.

    Args:
        truth: a (boxes, classes) for every picture.
        found: a (scores, classes, boxes) for every picture.

    Raises:
        EnvironmentFault: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise EnvironmentFault(
            "average precision needs pycocotools, which is not installed", "pip install pycocotools"
        ) from error

    def box(four):
        return [four[0], four[1], four[2] - four[0], four[3] - four[1]]

    annotations = [
        {"image_id": n, "category_id": int(kind), "bbox": box(four), "area": (four[2] - four[0]) * (four[3] - four[1]), "iscrowd": 0}
        for n, (boxes, classes) in enumerate(truth)
        for four, kind in zip(boxes.tolist(), classes.tolist(), strict=True)
    ]  # fmt: skip
    results = [
        {"image_id": n, "category_id": int(kind), "bbox": box(four), "score": score}
        for n, (scores, classes, boxes) in enumerate(found)
        for score, kind, four in zip(scores.tolist(), classes.tolist(), boxes.tolist(), strict=True)
    ]
    known = COCO()
    known.dataset = {
        "info": {},
        "images": [{"id": n, "width": SIZE, "height": SIZE} for n in range(len(truth))],
        "annotations": [{"id": n + 1, **each} for n, each in enumerate(annotations)],
        "categories": [{"id": n, "name": str(n)} for n in range(CLASSES)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        known.createIndex()
        judged = COCOeval(known, known.loadRes(results), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0]), float(judged.stats[1])


def train(arm, seed, images, pictures, device):
    """One detector; returns its row."""
    torch.manual_seed(seed)
    model = Detector(build(parse_candidate(ARMS[arm]), CLASSES)).to(device, memory_format=torch.channels_last)
    steps = images // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=WARM)
    order = np.random.default_rng(seed).permutation(pictures.scenes.size(TRAIN))[: steps * BATCH]
    began, losses = time.monotonic(), []
    for step in range(steps):
        pixels, boxes, classes = pictures.batch(TRAIN, order[step * BATCH : (step + 1) * BATCH].tolist())
        loss = loss_of(*model(pixels.to(device)), boxes, classes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    seconds = time.monotonic() - began
    ap, ap50 = average_precision(*_seen(model.eval(), pictures, device))
    last = torch.stack(losses[-max(1, steps // 10) :]).mean().item()
    return {
        "arm": arm, "seed": seed, "images": steps * BATCH, "held_out": pictures.scenes.size(HELD_OUT), "ap": ap, "ap50": ap50,
        "loss": last, "seconds": seconds,
    }  # fmt: skip


def _seen(model, pictures, device):
    """Truth and detections of all held-out scenes."""
    truth, found = [], []
    with torch.no_grad():
        for first in range(0, pictures.scenes.size(HELD_OUT), BATCH):
            ids = list(range(first, min(first + BATCH, pictures.scenes.size(HELD_OUT))))
            pixels, boxes, classes = pictures.batch(HELD_OUT, ids)
            truth += zip(boxes, classes, strict=True)
            found += zip(*(each.cpu() for each in detections(*model(pixels.to(device)))), strict=True)
    return truth, found


def page_of(document):
    """The page's text."""
    rows = document["rows"]
    scores = {arm: {row["seed"]: row["ap"] for row in rows if row["arm"] == arm} for arm in document["arms"]}
    lines = []
    for arm, each in document["arms"].items():
        own = [row for row in rows if row["arm"] == arm]
        ap50, seconds = (np.mean([row[key] for row in own]) for key in ("ap50", "seconds"))
        lines.append(
            [arm, f"`{each['candidate']}`", f"{each['params'] / 1e6:.2f} M", f"{each['macs'] / 1e6:.0f} M", spread(scores[arm].values()),
             f"{ap50:.4f}", f"{seconds:.0f}"]
        )  # fmt: skip
    return "\n\n".join(
        [
            "# Attention against convolution in the last stage of a detector",
            f"Scenes `{VERSION}`, seed {DATA_SEED}, {SIZE} pixels, two boxes a picture, {CLASSES} classes; {rows[0]['images']:,} pictures from "
            f"scratch, {len(next(iter(scores.values())))} seeds, {rows[0]['held_out']:,} held-out pictures, the same for all. The score is COCO's "
            "AP (IoU 0.5 to 0.95) by pycocotools. What was expected, before the first training, and what became of it (paired by seed, verdicts "
            "hold together with 95 %):",
            "\n".join(verdicts_of(document["expect"], scores)),
            table(
                ["last stage", "backbone", "parameters", "MACs", "AP (deviation over seeds)", "AP at 0.5", "seconds"],
                lines,
            ),
            "Parameters and MACs are those of the backbone as a classifier of seven classes. Published (Mask R-CNN, ResNet-50 with SE, COCO): "
            "convolution 44.5, attention with b=8 45.2, with b=32 45.4 box AP (arXiv:2103.12731): other data, lengths and sizes than here, and "
            "backbones that were trained before.",
        ]
    )


def kept_rows(path):
    """Rows that were done before; a torn last line is done again."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError):
            row = json.loads(line)
            key_of(row)
            found.append(row)
    return found


def key_of(row):
    """What tells a row from others."""
    return row["arm"], row["seed"], row["images"], row["held_out"]


def append(path, row):
    """A line of its own, also behind a torn one; one write, for processes may share the file."""
    torn = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size
    with path.open("a") as file:
        file.write(("\n" if torn else "") + json.dumps(row) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--held-out", type=int, default=HELD_OUT_IMAGES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--root", type=Path, default=Path(), help="where detection.jsonl lies")
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    device = torch.device(resolve_device(arguments.device))
    where = provenance(device)
    average_precision(
        [(torch.tensor([[0.0, 0, 8, 8]]), torch.tensor([0]))],
        [(torch.ones(1), torch.tensor([0]), torch.tensor([[0.0, 0, 8, 8]]))],
    )
    pictures, path = Pictures(held_out=arguments.held_out), arguments.root / "detection.jsonl"
    held_out = pictures.scenes.size(HELD_OUT)
    seeds, images = [int(each) for each in arguments.seeds.split(",")], arguments.images // BATCH * BATCH
    for seed in seeds:
        for arm in ARMS:
            if (arm, seed, images, held_out) not in map(key_of, kept_rows(path)):
                row = train(arm, seed, images, pictures, device)
                print(f"{arm}, seed {seed}: AP {row['ap']:.4f}, {row['seconds']:.0f} s", flush=True)
                append(path, row)
    known = {key_of(row): row for row in kept_rows(path)}
    rows = [known[arm, seed, images, held_out] for seed in seeds for arm in ARMS]
    costs = {arm: count(parse_candidate(text), CLASSES) for arm, text in ARMS.items()}
    document = {
        "provenance": where,
        "expect": list(EXPECT),
        "arms": {arm: {"candidate": ARMS[arm], "params": costs[arm].params, "macs": costs[arm].macs} for arm in ARMS},
        "rows": rows,
    }
    write("detection", device, document, page_of(document), arguments.folder)


if __name__ == "__main__":
    main()
