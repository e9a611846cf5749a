"""Commands about one candidate: show, cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from halosearch.cli.output import format_table, put, put_json
from halosearch.errors import UsageError
from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.halonet.notation import candidate_from_values
from halosearch.families.known import candidate_text, count, family_of, layers_of, parse_candidate, values_of
from halosearch.spec.unique_yaml import load_yaml


def resolve_candidate(text: str, root: Path) -> Any:
    """A network of any family: a name, dials, a YAML file of dials, or STUDY#trial.

    Raises:
        UsageError: none of these.
    """
    if "#" in text:
        from halosearch.report.reading import candidate_of_trial

        return candidate_of_trial(root, text)
    if text.endswith((".yaml", ".yml")):
        import yaml

        try:
            values = load_yaml(Path(text).read_text(encoding="utf-8"), text)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(
                f"{text} cannot be read: {str(error).splitlines()[0]}",
                "give a YAML file such as {s: 256, b: 8, h: 3, rb: 1, l3: 10}",
            ) from error
        if not isinstance(values, dict):
            raise UsageError(
                f"{text} is not a mapping of dials", "give a YAML file such as {s: 256, b: 8, h: 3, rb: 1, l3: 10}"
            )
        return candidate_from_values(values)
    return parse_candidate(text)


def show_candidate(text: str, root: Path, *, as_json: bool, figure: Path | None = None) -> None:
    """Values, stages, counts, published facts; of a HaloNet also its canonical form. `figure`: an SVG file for the drawing of its stages.

    Raises:
        UsageError: the file is no SVG.
    """
    config = resolve_candidate(text, root)
    if figure is not None:
        _draw(config, figure)
    canonical = config.canonical() if isinstance(config, HaloNetConfig) else config
    family, cost = family_of(config), count(config)
    published, stages = family.published(config), family.stages(config)
    if as_json:
        put_json(
            {
                "candidate": candidate_text(config),
                "canonical": candidate_text(canonical),
                **values_of(config),
                "stages": stages,
                **asdict(cost),
                "published": None if published is None else asdict(published),
            }
        )
        return
    put(candidate_text(config))
    if canonical != config:
        put(f"canonical: {candidate_text(canonical)}")
    put(
        format_table(
            [name.replace("channels", "channels out") for name in stages[0]], [list(stage.values()) for stage in stages]
        )
    )
    put(
        f"{cost.params:,} parameters, {cost.macs:,} MACs, {cost.activations:,} activations per {config.image_size}-pixel image"
    )
    if published is not None:
        params = "" if published.params_m is None else f"{published.params_m:g} M parameters, "
        put(
            f"published: {params}top-1 {published.top1_percent} % on {published.data} "
            f"({published.source}; {published.confidence})"
        )


def _draw(config: Any, figure: Path) -> None:
    if figure.suffix.lower() != ".svg":
        raise UsageError(f"{figure} is no SVG file", f"name it {figure.with_suffix('.svg')}")
    from halosearch.files import write_text
    from halosearch.report.figures.network import draw_network, standalone
    from halosearch.report.network_rows import network_rows, rows_as_values

    write_text(figure, standalone(draw_network(rows_as_values(network_rows(config)), candidate_text(config))))


def cost_candidate(text: str, root: Path, *, as_json: bool, by_layer: bool, audited: bool, classes: int) -> None:
    """Exact counts; by layer; beside fvcore's."""
    config = resolve_candidate(text, root)
    cost = count(config, classes)
    document: dict[str, Any] = {"candidate": candidate_text(config), **asdict(cost), "classes": classes}
    if by_layer:
        document["layers"] = [_layer_row(layer) for layer in layers_of(config, classes) if int(layer.repeat)]
    if audited:
        from halosearch.cost.audit import audit

        document["audit"] = [asdict(row) | {"agrees": row.agrees} for row in audit(config, classes)]
    if as_json:
        put_json(document)
    else:
        _print_cost(document)
    disagreeing = [row for row in document.get("audit", []) if not row["agrees"]]
    if disagreeing:
        raise RuntimeError(f"closed form and fvcore disagree in {len(disagreeing)} rows, the first is {disagreeing[0]}")


def _layer_row(layer: Any) -> dict[str, Any]:
    return {
        "block": layer.block,
        "layer": layer.name,
        "operator": layer.operator,
        "repeat": int(layer.repeat),
        "side": int(layer.side),
        "channels": int(layer.channels),
        "params": int(layer.cost.params),
        "macs": int(layer.cost.macs),
        "activations": int(layer.cost.activations),
    }


def _print_cost(document: dict[str, Any]) -> None:
    for name in ("layers", "audit"):
        if name in document:
            rows = document[name]
            put(format_table(list(rows[0]), [list(row.values()) for row in rows]) + "\n")
    put(
        format_table(
            ["candidate", "params", "MACs", "activations"],
            [[document["candidate"], document["params"], document["macs"], document["activations"]]],
        )
    )
