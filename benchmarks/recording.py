"""What every benchmark records beside its numbers: device, versions, commit, command."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from halosearch.cost.devices import fingerprint

HERE = Path(__file__).parent
MAKERS = {"nvidia", "geforce", "tesla", "quadro", "amd", "radeon", "instinct"}
MEMORY = re.compile(r"\d+gi?b|hbm\d*e?|pcie|sxm\d*")


def device_name(device):
    """Short name of a device for file names."""
    if device.type != "cuda":
        return "cpu"
    words = torch.cuda.get_device_name(device).replace("-", " ").lower().split()
    return "-".join(word for word in words if word not in MAKERS and not MEMORY.fullmatch(word)) or "gpu"


def module():
    """The running benchmark as python -m is given it."""
    file = Path(sys.argv[0]).resolve()
    return ".".join(file.relative_to(HERE.parent).with_suffix("").parts) if file.is_relative_to(HERE) else file.name


def without_folder(words):
    """Arguments but for where the page goes and where other code lies, which are paths of somebody's machine."""
    kept = list(words)
    for option in {"--folder", "--code"} & set(kept):
        at = kept.index(option)
        kept[at : at + 2] = [] if option == "--folder" else [option, "DIR"]
    return kept


def provenance(device):
    """Device and versions, the commit (marked where files differ from it; for a copy, the variable COMMIT says it), command, load."""
    git = ["git", "-C", str(HERE)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return {
        **fingerprint(device),
        "commit": os.environ.get("COMMIT") or commit.stdout.strip() + ("+" if changed.stdout.strip() else ""),
        "command": " ".join(["python", "-m", module(), *without_folder(sys.argv[1:])]),
        "date": datetime.now(UTC).date().isoformat(),
        "load_1m_before": os.getloadavg()[0],
    }


def write(name, device, document, page, folder=HERE):
    """Raw numbers under results/, the page in the folder (this one unless told); prints the page."""
    stem, folder = f"{name}-{device_name(device)}", Path(folder)
    (folder / "results").mkdir(parents=True, exist_ok=True)
    (folder / "results" / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    where = document["provenance"]
    versions = ", ".join(
        f"{key} {where[key]}" for key in ("torch", "python", "precision", "threads", "commit") if key in where
    )
    lines = [
        page,
        "",
        f"{where['device']}; {versions}; {where['date']}; load before {where['load_1m_before']:.2f}.",
        f"Command: `{where['command']}`. Raw numbers: `results/{stem}.json`.",
    ]
    text = "\n".join(lines) + "\n"
    (folder / f"{stem}.md").write_text(text)
    sys.stdout.write(text)


def lines_of(file):
    """JSON lines that earlier calls have kept; a last one that was cut off in the middle is left out."""
    kept = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            kept.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return kept


def table(header, rows):
    """A Markdown table."""
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return "\n".join(
        [
            "| " + " | ".join(header) + " |",
            "|" + " --- |" * len(header),
            *("| " + " | ".join(row) + " |" for row in cells),
        ]
    )
