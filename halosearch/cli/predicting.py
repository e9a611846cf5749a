"""`halosearch predict`: step times that a study has not measured, from what it has."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from halosearch.cli.output import format_table, put, put_json
from halosearch.errors import NothingUsableError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from halosearch.analysis.law_of_costs import FamilyLaw
    from halosearch.report.reading import Opened
    from halosearch.spec.study import StudySpec

NAMES = ("predicted_step_time_s", "predicted_step_time_low_s", "predicted_step_time_high_s")


def predict_step_times(study: str, texts: list[str], root: Path, *, as_json: bool, output: Path | None) -> None:
    """Predicted training steps of candidates, or of the study's whole pool.

    Raises:
        NothingUsableError: the study has timed too few candidates.
    """
    if texts and output is not None:
        raise UsageError("--output holds the rows of the whole pool", "leave the candidates out, or use --json")
    from halosearch.families.known import candidate_text, family_of
    from halosearch.record.trials import anchor_of
    from halosearch.report.reading import open_study

    opened = open_study(root, study)
    clock = anchor_of(opened.rows)
    if clock is None:
        raise NothingUsableError(f"study {study!r} has timed nothing yet", f"let it run on: halosearch study {study}")
    document: dict[str, Any] = {
        "study": study,
        "device": clock["device"],
        "batch_size": opened.spec.preset.timing_batch,
    }
    if texts:
        from halosearch.cli.candidates import resolve_candidate

        configs = {text: resolve_candidate(text, root) for text in texts}
        wanted = {family_of(config).name for config in configs.values()}
        by_family = {name: _predictor(opened, name, study) for name in sorted(wanted)}
        document["candidates"] = [
            {
                "candidate": text if "#" in text else candidate_text(config),
                **by_family[family_of(config).name].of(config, text),
            }
            for text, config in configs.items()
        ]
    else:
        by_family = {opened.spec.family: _predictor(opened, opened.spec.family, study)}
        document["pool"] = _pool(opened.spec, by_family[opened.spec.family], output)
    document["audits"] = {name: predictor.audit for name, predictor in by_family.items()}
    if as_json:
        put_json(document)
    else:
        _print(document, output)


def _predictor(opened: Opened, family: str, study: str) -> Predictor:
    """What a study's timed networks say of a family: HaloNets by their parts, others by the law of their costs.

    Raises:
        NothingUsableError: too few were timed.
    """
    from halosearch.analysis.law_of_costs import MIN_TIMED, law_of, timed_of
    from halosearch.analysis.step_times import audited, setting_for, timed_trials
    from halosearch.cost.step_time import fit
    from halosearch.families.known import HALONET
    from halosearch.record.trials import anchor_of

    if family == HALONET:
        setting = setting_for(opened.spec)
        timed = timed_trials(opened.trials, setting)
        model = fit(timed.values(), setting)
        if model is not None:
            anchor = float((anchor_of(opened.rows) or {})["seconds"]["median"])
            return ByParts(model, anchor, audited(timed, model))
        count, why = len(timed), "too few (or too few parts of some kind)"
    else:
        steps = timed_of(opened.rows, family)
        law = law_of(steps)
        if law is not None:
            return ByCosts(law)
        count, why = len(steps), f"and a prediction needs {MIN_TIMED}"
    same = opened.spec.family == family
    raise NothingUsableError(
        f"study {study!r} has timed {count} networks of the family {family}, {why}, to predict others",
        f"let it run on: halosearch study {study}" if same else "measure it: halosearch time",
    )


class Predictor(Protocol):
    """Predicts steps of one family; `audit` says how far networks left out of the fit were missed."""

    @property
    def audit(self) -> dict[str, Any] | None:
        """Trials, mean absolute relative error, Kendall's tau, half-width of the interval."""
        ...

    def of(self, config: Any, text: str) -> dict[str, Any]:
        """Seconds with their interval, and whether it is extrapolated."""
        ...

    def rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The same of every row of a pool."""
        ...


@dataclass(frozen=True, slots=True)
class ByParts:
    """HaloNets, part by part."""

    model: Any
    anchor_s: float
    audit: dict[str, Any] | None

    def of(self, config: Any, text: str) -> dict[str, Any]:
        """See `Predictor`.

        Raises:
            NothingUsableError: a kind of block was never timed.
        """
        import math

        from halosearch.cost.parts import parts_of
        from halosearch.families.halonet.counts import dials_of

        predicted = self.model.predict(dials_of(config), {name: part.key for name, part in parts_of(config).items()})
        if not math.isfinite(predicted.ratio[0]):
            raise NothingUsableError(
                f"{text} has a kind of block that the study never timed", "predict candidates of its own pool"
            )
        seconds = [self.anchor_s * float(value[0]) for value in (predicted.ratio, predicted.low, predicted.high)]
        return dict(zip(NAMES, seconds, strict=True)) | {"extrapolated": bool(predicted.extrapolated[0])}

    def rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """See `Predictor`."""
        from halosearch.analysis.step_times import predicted_seconds

        return predicted_seconds(self.model, rows, self.anchor_s)


@dataclass(frozen=True, slots=True)
class ByCosts:
    """Networks of other families, by MACs and activations."""

    law: FamilyLaw

    @property
    def audit(self) -> dict[str, Any]:
        """See `Predictor`."""
        return self.law.audit

    def of(self, config: Any, text: str) -> dict[str, Any]:
        """See `Predictor`."""
        from dataclasses import asdict

        from halosearch.families.known import count

        del text
        return self.law.predict(asdict(count(config)))

    def rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """See `Predictor`."""
        import pandas as pd

        records: list[Any] = rows.to_dict("records")
        return pd.DataFrame([self.law.predict(record) for record in records], index=rows.index)


def _pool(spec: StudySpec, predictor: Predictor, output: Path | None) -> dict[str, Any]:
    """Quantiles of the predicted step time over all rows; the rows themselves to `output`."""
    import pandas as pd

    from halosearch.cost.pools import pool_of
    from halosearch.files import write_text

    rows = pool_of(spec)
    predicted = predictor.rows(rows)
    if output is not None:
        text = io.StringIO()
        pd.concat([rows, predicted], axis=1).to_csv(text, index=False, float_format="%.6g")
        write_text(output, text.getvalue())
    quantiles = predicted["predicted_step_time_s"].quantile([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    return {
        "size": len(rows),
        "not_predicted": int(predicted["predicted_step_time_s"].isna().sum()),
        "extrapolated": int(predicted["extrapolated"].sum()),
        "predicted_step_time_s": {f"{share:g}": float(value) for share, value in quantiles.items()},
    }


def _print(document: dict[str, Any], output: Path | None) -> None:
    if "candidates" in document:
        rows = [
            [*list(each.values())[:-1], "beyond what was timed" if each["extrapolated"] else "ok"]
            for each in document["candidates"]
        ]
        put(format_table(["candidate", "predicted s", "low s", "high s", "range"], rows))
    else:
        pool = document["pool"]
        put(
            f"{pool['size']:,} candidates ({pool['not_predicted']:,} of a kind never timed, {pool['extrapolated']:,} beyond what was timed); "
            "predicted training step in seconds:"
        )
        shares = [[f"{100 * float(share):g} %", value] for share, value in pool["predicted_step_time_s"].items()]
        put(format_table(["share of the pool up to", "predicted s"], shares))
    put(f"predicted for {document['device']['device']}, {document['batch_size']} images a step, not measured")
    for family, audit in document["audits"].items():
        put(
            f"{family}: left out of the fit, timed networks were missed by {100 * audit['mape']:.0f} % on average, Kendall's tau "
            f"{audit['kendall_tau']:.2f}, 95 % interval ±{100 * audit['half_width']:.0f} % (n = {audit['trials']})"
            if audit
            else f"{family}: too few trials to say how well"
        )
    if output is not None and "pool" in document:
        put(f"all rows: {output}")
