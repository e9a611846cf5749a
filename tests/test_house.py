"""What the house promises of itself: small files and functions, names that say something, private names of others named here."""

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "halosearch").rglob("*.py"))
KERNELS = ("triton_kernels.py", "triton_pieces.py", "norm_kernels.py")
"""Parameters of Triton's kernels are what they are compiled for; they cannot be packed."""
BANNED = {"utils", "common", "core", "base", "helpers", "misc", "types", "constants"}
PRIVATE = {
    ("optuna", "_storage"): lambda: hasattr(importlib.import_module("optuna").create_study(), "_storage"),
    ("optuna", "_study_id"): lambda: hasattr(importlib.import_module("optuna").create_study(), "_study_id"),
    ("optuna", "_trial_id"): lambda: hasattr(importlib.import_module("optuna").create_study().ask(), "_trial_id"),
    ("optuna", "_rdb"): lambda: importlib.import_module("optuna.storages._rdb.models").TrialModel,
    ("optuna", "_get_prepared_new_trial"): lambda: (
        importlib.import_module("optuna.storages").RDBStorage._get_prepared_new_trial
    ),
    ("torch", "_dynamo"): lambda: importlib.import_module("torch._dynamo").config,
    ("torch", "_subclasses"): lambda: importlib.import_module("torch._subclasses.fake_tensor").unset_fake_temporarily,
    ("torch", "_python_dispatch"): lambda: importlib.import_module("torch.utils._python_dispatch").TorchDispatchMode,
    ("torch", "_softmax_backward_data"): lambda: importlib.import_module("torch")._softmax_backward_data,
    ("ray", "_tune_controller"): lambda: "_tune_controller" in _source("ray.tune.execution.tune_controller"),
    ("ray", "_actor_cache"): lambda: "_actor_cache" in _source("ray.tune.execution.tune_controller"),
}
"""Every private name of Optuna, torch and Ray that is used, with how to see that it is still there."""
OURS = {"_exit", "_replace", "_asdict"}


def _source(module):
    found = importlib.util.find_spec(module)
    return Path(found.origin).read_text()


def _private_names(tree):
    """Names with one underscore that are read from something else than `self`, or imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (part for part in (node.module or "").split(".") if re.match(r"_[a-z]", part))
        elif isinstance(node, ast.Import):
            yield from (part for name in node.names for part in name.name.split(".") if re.match(r"_[a-z]", part))


def test_private_names_of_others_are_named_here_and_are_still_there():
    known = {name for _, name in PRIVATE} | OURS
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        mine = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        mine |= {
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        }  # fmt: skip
        assert set(_private_names(tree)) - mine <= known, path


@pytest.mark.parametrize(("package", "name"), list(PRIVATE))
def test_a_private_name_is_there_and_its_package_has_an_upper_bound(package, name):
    if package == "ray":
        pytest.importorskip("ray")
    assert PRIVATE[package, name]()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [bounds] = [line for line in project["dependencies"] if re.match(rf"{package}\b", line)]
    assert "<" in bounds


def test_files_are_short_and_their_names_say_something():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert [path for path, count in lines.items() if count > 300] == []
    assert [path for path in FILES if path.stem in BANNED] == []


def test_no_function_takes_more_than_six_parameters():
    found = []
    for path in FILES:
        if path.name in KERNELS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                count = len(names) - (names[:1] in (["self"], ["cls"]))
                found += [(path.name, node.name, count)] if count > 6 else []
    assert found == []
