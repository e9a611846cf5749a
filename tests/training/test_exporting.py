"""What others load of a model gives its outputs: tensors, torch.export, ONNX, timm."""

import json

import pytest
import torch

from halosearch.errors import EnvironmentFault, UsageError
from halosearch.families import foreign
from halosearch.families.known import build, count, parse_candidate
from halosearch.training import exporting
from halosearch.training.exporting import export_model, load_model, probe
from tests.cli.process import error_of, here

PLAIN = "s=32,b=4,h=1,rv=1,rb=0.5,depths=1-1-1-1"
MASKED = "s=32,b=4,h=1,rv=1,rb=0.5,depths=1-1-1-1,mask=3"
HYBRID = "s=32,b=4,h=1,rv=1,rb=0.5,depths=1-1-1-1,conv=2"


def trained(folder, candidate):
    """A model's folder with weights whose branches are far from nought, so that every operator counts."""
    torch.manual_seed(0)
    config = parse_candidate(candidate)
    network = build(config, 3)
    for name, parameter in network.named_parameters():
        if name.endswith("norm.weight") or parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "weights.pt")
    about = {"format": 1, "halosearch": "0", "torch": "0", "classes": ["a", "b", "c"], "data": "pictures", "finished": True,
             "params": count(config, 3).params, "macs": count(config, 3).macs, "seconds": 1.0,
             "job": {"candidate": candidate, "image_size": 32, "seed": 0, "recipe": {"name": "short", "test_crop": 0.875}},
             "epochs": [{"epoch": 1, "top1": 0.5, "top5": 1.0, "test_loss": 1.0, "scored": 10}]}  # fmt: skip
    (folder / "model.json").write_text(json.dumps(about))
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("candidate", [PLAIN, MASKED, HYBRID, pytest.param("h0", marks=pytest.mark.long)])
def test_every_format_gives_the_network_s_outputs(tmp_path, candidate):
    for package in ("safetensors", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    network = trained(tmp_path / "models" / "m", candidate)
    found = export_model(
        tmp_path / "models" / "m", tmp_path / "out", ["safetensors", "torch", "onnx"], "halosearch export-model m"
    )
    assert [each.path.name for each in found] == ["model.safetensors", "model.pt2", "model.onnx"]
    assert found[1].difference <= 1e-5
    assert found[2].difference <= 1e-4
    images = probe(parse_candidate(candidate).image_size)
    with torch.no_grad():
        wanted = network(images)
        assert float(wanted.std(0).max()) > 1e-3, "outputs that do not depend on the image show nothing"
        assert torch.equal(load_model(tmp_path / "out")(images), wanted)
        assert torch.equal(load_model(tmp_path / "models" / "m")(images), wanted)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Top-1 50.00 %" in card
    assert "halosearch export-model m" in card


def test_tensors_and_card_are_quick_and_give_the_same_network(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    network = trained(tmp_path / "models" / "m", HYBRID)
    done = here("export-model", "m", "--formats", "safetensors", cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.returncode == 0, done.stderr
    images = probe(32)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "models" / "m" / "export")(images), network(images))
    config = json.loads((tmp_path / "models" / "m" / "export" / "config.json").read_text())
    assert (config["candidate"], config["num_classes"]) == (HYBRID, 3)


@pytest.mark.slow
def test_an_export_into_the_model_s_own_folder_and_over_another_model_s_is_that_of_this_one(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    network = trained(tmp_path / "models" / "m", HYBRID)
    own = tmp_path / "models" / "m"
    (own / "model.onnx").write_bytes(b"of another model")
    for _ in range(2):
        done = here(
            "export-model", "m", "--formats", "safetensors", "--output", own, cwd=tmp_path, monkeypatch=monkeypatch
        )
        assert done.returncode == 0, done.stderr
        assert "1 epochs, seed 0" in (own / "README.md").read_text()
        assert "on 10 pictures" in (own / "README.md").read_text()
    assert not (own / "model.onnx").exists()
    assert not list(own.glob(".export-*"))
    assert json.loads((own / "config.json").read_text())["crop_pct"] == 0.875
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    monkeypatch.setitem(exporting.TOLERANCE, "torch", -1.0)
    with pytest.raises(EnvironmentFault, match="outputs that differ by"):
        export_model(own, own, ["safetensors", "torch"], "")
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before, "nothing of an export that failed stays"
    with torch.no_grad():
        assert torch.equal(load_model(own)(probe(32)), network(probe(32)))


def test_what_cannot_be_exported_is_one_sentence(tmp_path, monkeypatch):
    trained(tmp_path / "models" / "m", PLAIN)
    assert "no format tflite" in error_of(
        here("export-model", "m", "--formats", "tflite", cwd=tmp_path, monkeypatch=monkeypatch)
    )
    assert "holds no trained model" in error_of(here("export-model", "n", cwd=tmp_path, monkeypatch=monkeypatch))
    monkeypatch.setattr(foreign.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="onnx is not installed"):
        export_model(tmp_path / "models" / "m", tmp_path / "out", ["onnx"], "")
    assert not (tmp_path / "out").exists()
    about = json.loads((tmp_path / "models" / "m" / "model.json").read_text())
    (tmp_path / "models" / "m" / "model.json").write_text(json.dumps(about | {"finished": False}))
    with pytest.raises(UsageError, match="has not ended"):
        export_model(tmp_path / "models" / "m", tmp_path / "out", ["safetensors"], "")


def timm_here():
    pytest.importorskip("timm")
    import halosearch.timm  # noqa: F401

    return foreign.import_optional("timm")


def test_timm_finds_the_family_any_candidate_and_a_trained_model(tmp_path):
    timm = timm_here()
    assert {f"halosearch_h{n}" for n in range(8)} <= set(timm.list_models("halosearch*"))
    model = timm.create_model("halosearch_h0", num_classes=10)
    assert sum(each.numel() for each in model.parameters()) == count(parse_candidate("h0"), 10).params
    network = trained(tmp_path / "m", HYBRID)
    images = probe(32)
    with torch.no_grad():
        assert torch.equal(timm.create_model("halosearch", folder=str(tmp_path / "m")).eval()(images), network(images))
    assert timm.create_model("halosearch", folder=str(tmp_path / "m"), num_classes=7).head.out_features == 7
    found = timm.data.resolve_model_data_config(timm.create_model("halosearch", folder=str(tmp_path / "m")))
    assert (found["input_size"], found["crop_pct"], found["mean"]) == ((3, 32, 32), 0.875, (0.5,) * 3)
    pooled = timm.create_model("halosearch_h0", num_classes=0)
    assert pooled.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 256)
    with pytest.raises(UsageError, match="no published weights"):
        timm.create_model("halosearch_h0", pretrained=True)
    with pytest.raises(UsageError, match="candidate or a folder"):
        timm.create_model("halosearch")


def test_timm_s_features_are_those_of_its_own_models():
    timm = timm_here()
    model = timm.create_model("halosearch", candidate=HYBRID, features_only=True, out_indices=(1, 3))
    assert model.feature_info.reduction() == [8, 32]
    for wrong in (4, -5):
        with pytest.raises(UsageError, match=f"there is no map {wrong}"):
            timm.create_model("halosearch", candidate=HYBRID, features_only=True, out_indices=(0, wrong))
    maps = model.eval()(torch.randn(1, 3, 64, 96))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (channels, 64 // stride, 96 // stride)
        for channels, stride in zip(model.feature_info.channels(), (8, 32), strict=True)
    ]
