"""What became of the experiments, the paper's and our own: a page for each folder of them.

    python -m benchmarks.paper [--root .]

Reads studies/paper/*.yaml and the record of each (studies/paper-NAME), and writes studies/paper/README.md; the same for studies/own.
Nothing is run.
"""

import argparse
from pathlib import Path

from benchmarks.recording import table
from halosearch.errors import HalosearchError
from halosearch.report.experiment_summary import experiment_summary, sentence_of
from halosearch.report.reading import open_study

OWN_HEAD = " ".join(
    [
        "# Experiments of our own\n\nQuestions that the paper's experiments left, each with its arms and what was expected **before the first",
        "training**; `halosearch experiment studies/own/NAME.yaml` runs it, or goes on with it. Recorded on two cores of an AMD EPYC, without a GPU:",
        "twins of ⅛ of the width, synthetic scenes (`scenes-easy-2`, seed 11). They say what this proxy sees, not what ImageNet would",
        "say.\n\nVerdicts of one experiment hold together with 95 % (Holm).",
    ]
)
HEAD = " ".join(
    [
        "# The paper's experiments\n\nEach file here states a question of arXiv:2103.12731, its arms and what was expected **before the first",
        "training**; `halosearch experiment studies/paper/NAME.yaml` runs it, or goes on with it, and `halosearch report paper-NAME` writes its page",
        "with every effect drawn. What follows was recorded on two cores of an AMD EPYC, without a GPU: twins of ⅛ of the width, synthetic scenes",
        "(`scenes-easy-2`, seed 7), 48 to 96 pixels. These are short trainings of narrow networks by one recipe, which was chosen on HaloNets with",
        "SiLU: they say what this proxy sees, not what ImageNet would say.\n\nVerdicts of one experiment hold together with 95 % (Holm).",
        '"Undecided" says which difference so many seeds show in four of five such experiments.',
    ]
)


HEADS = {"paper": HEAD, "own": OWN_HEAD}
SOURCES = {"paper": "Published", "own": "Where it comes from"}


def section(path, root):
    """An experiment's part of the page; None where it was not run."""
    name = f"{path.parent.name}-{path.stem}"
    if not (root / "studies" / name / "study.yaml").exists():
        return None, f"`{path.name}`"
    opened = open_study(root, name, experiments=True)
    found = experiment_summary(opened.spec, opened.folders, opened.rows, opened.table.facts())
    rows = [
        [arm["name"], "" if arm["score"] is None else f"{arm['score']:.3f}", len(arm["scores"]),
         "" if arm["step_time_s"] is None else f"{arm['step_time_s']:.3f}",
         "" if arm["published"] is None else arm["published"], f"`{arm['candidate']}`"]
        for arm in found["arms"]
    ]  # fmt: skip
    done = found["trainings"]
    length = f"{opened.spec.preset.rungs[-1]:,} images, {opened.spec.experiment.seeds} seeds, {done['done']} of {done['planned']} trainings"
    if not done["planned"]:
        length = f"training steps of {opened.spec.preset.timing_batch} images of the full networks"
    text = "\n\n".join(
        [
            f"## {found['question']}",
            f"`{path.name}`, {length}. {SOURCES[path.parent.name]}: {found['source']}",
            "\n".join(f"- {_marked(each)}" for each in found["expectations"]),
            table(["arm", "score", "seeds", "step (s)", "published", "network"], rows),
        ]
    )
    return text, found["expectations"]


def _marked(each):
    """The sentence with its verdict in bold, the expectation as code."""
    words = sentence_of(each)
    return words.replace(f"{each['text']}: {each['verdict']}", f"`{each['text']}`: **{each['verdict']}**", 1)


def page(root, folder="paper"):
    """The whole page of a folder as text."""
    parts, missing, counts = [], [], {}
    for path in sorted((root / "studies" / folder).glob("*.yaml")):
        text, found = section(path, root)
        if text is None:
            missing.append(found)
            continue
        parts.append(text)
        for each in found:
            counts[each["verdict"]] = counts.get(each["verdict"], 0) + 1
    said = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in ("confirmed", "refuted", "undecided"))
    experiments = f"{len(parts)} experiment" + ("" if len(parts) == 1 else "s")
    head = [HEADS[folder], f"**{sum(counts.values())} expectations of {experiments}: {said}.**"]
    if missing:
        head.append(f"Not run yet: {', '.join(missing)}.")
    return "\n\n".join([*head, *parts]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path())
    arguments = parser.parse_args()
    try:
        for folder in HEADS:
            (arguments.root / "studies" / folder / "README.md").write_text(page(arguments.root, folder))
    except HalosearchError as error:
        raise SystemExit(f"{error}") from error


if __name__ == "__main__":
    main()
