"""What an experiment expects, written before it is run: comparisons of arms, read from text.

    score(window=12) > score(window=6) + 0.01
    |score(b=4,h=4) - score(b=8,h=2)| < 0.02
    step_time(conv=2) < 0.7 * step_time(conv=0)

An arm is called by its name in parentheses. Scores are compared by sums, step times by their ratio.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from halosearch.errors import UsageError
from halosearch.spec.experiment import arm_name

SCORE, STEP_TIME = "score", "step_time"
METRICS = (SCORE, STEP_TIME)
MEASURED = re.compile(r"\b(score|step_time)\s*\(([^()|]*)\)")
EXAMPLE = "for example: score(b=8) > score(b=4), |score(b=8) - score(b=4)| < 0.02, step_time(conv=2) < 0.7 * step_time(conv=0)"


@dataclass(frozen=True, slots=True)
class Expectation:
    """`metric` of arms, weighted by `weights` and summed, is above `bound`; or, with a `margin`, within it of `bound`.

    Of step times the sum is that of their logarithms: two arms with weights 1 and -1 and the logarithm of a ratio as bound; `ratio` is
    (numerator, denominator) as the text has them.
    """

    text: str
    metric: str
    weights: Mapping[str, float]
    bound: float
    margin: float | None = None
    ratio: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Sum:
    """A weighted sum of one metric over arms, plus a number."""

    weights: Mapping[tuple[str, str], float]
    number: float = 0.0

    def plus(self, other: _Sum, sign: float = 1.0) -> _Sum:
        keys = [*self.weights, *(key for key in other.weights if key not in self.weights)]
        both = {key: self.weights.get(key, 0.0) + sign * other.weights.get(key, 0.0) for key in keys}
        return _Sum({key: weight for key, weight in both.items() if weight}, self.number + sign * other.number)

    def times(self, factor: float) -> _Sum:
        return _Sum({key: factor * weight for key, weight in self.weights.items()}, factor * self.number)


def parse_expectation(text: str, arms: Sequence[str]) -> Expectation:
    """An expectation of these arms.

    Raises:
        UsageError: it is no comparison of arms that exist.
    """
    # an arm's name may be anything without parentheses, Python's own words among it
    quoted = MEASURED.sub(lambda found: f"{found[1]}({arm_name(found[2])!r})", text.strip())
    try:
        tree = ast.parse(re.sub(r"\|([^|]*)\|", r"abs(\1)", quoted), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise _unclear(text, "it cannot be read") from error
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
        raise _unclear(text, "it is not one comparison")
    smaller, larger = tree.left, tree.comparators[0]
    if isinstance(tree.ops[0], ast.Gt | ast.GtE):
        smaller, larger = larger, smaller
    elif not isinstance(tree.ops[0], ast.Lt | ast.LtE):
        raise _unclear(text, "only < and > compare")
    if isinstance(larger, ast.Call) and _function(larger) == "abs":
        raise _unclear(text, "a difference is expected to be small, not large: say which of the two is larger")
    named = MEASURED.search(text)
    reader = _Reader(text, tuple(arms), arm_name(named[2]) if named else "")
    if isinstance(smaller, ast.Call) and _function(smaller) == "abs":
        if len(smaller.args) != 1:
            raise _unclear(text, "between the bars there is no difference")
        inside, margin = reader.sum(smaller.args[0]), reader.sum(larger)
        if margin.weights or margin.number <= 0:
            raise _unclear(text, "the margin of a difference is a positive number")
        return reader.made(inside, margin.number)
    return reader.made(reader.sum(larger).plus(reader.sum(smaller), -1.0), None)


def _function(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _unclear(text: str, why: str) -> UsageError:
    return UsageError(f"the expectation {text!r} is not understood: {why}", EXAMPLE)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the parts of one expectation."""

    text: str
    arms: tuple[str, ...]
    first: str
    """The arm that is named first."""

    def sum(self, node: ast.expr) -> _Sum:
        match node:
            case ast.Constant(value=bool()):
                raise _unclear(self.text, "a comparison is of scores or step times")
            case ast.Constant(value=int() | float() as number):
                return _Sum({}, float(number))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return self.sum(inner).times(-1.0)
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as sign, right=right):
                return self.sum(left).plus(self.sum(right), 1.0 if isinstance(sign, ast.Add) else -1.0)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                first, second = self.sum(left), self.sum(right)
                if first.weights and second.weights:
                    raise _unclear(self.text, "two measured values are multiplied")
                return second.times(first.number) if not first.weights else first.times(second.number)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                divisor = self.sum(right)
                if divisor.weights or not divisor.number:
                    raise _unclear(self.text, "write a ratio as a product: step_time(x) < 0.7 * step_time(y)")
                return self.sum(left).times(1 / divisor.number)
            case ast.Call() if _function(node) in METRICS:
                return _Sum({(_function(node), self._arm(node)): 1.0})
            case _:
                raise _unclear(self.text, f"{ast.unparse(node)} is neither score(ARM), step_time(ARM) nor a number")

    def _arm(self, call: ast.Call) -> str:
        name = str(ast.literal_eval(call.args[0]))
        if name not in self.arms:
            close = difflib.get_close_matches(name, self.arms, n=1)
            raise UsageError(
                f"the expectation {self.text!r} speaks of an arm {name!r} that there is not",
                f"did you mean {close[0]!r}?" if close else f"arms are {'; '.join(self.arms)}",
            )
        return name

    def made(self, found: _Sum, margin: float | None) -> Expectation:
        metrics = {metric for metric, _ in found.weights}
        if len(metrics) != 1:
            raise _unclear(self.text, "it compares either scores or step times, of two arms at least")
        metric, weights = metrics.pop(), {arm: weight for (_, arm), weight in found.weights.items()}
        if metric == SCORE:
            return Expectation(self.text, metric, MappingProxyType(weights), 0.0 - found.number, margin)
        return self._ratio(weights, found.number, margin)

    def _ratio(self, weights: dict[str, float], number: float, margin: float | None) -> Expectation:
        """`a x - b y > 0`, a, b > 0, is `ln x - ln y > ln b - ln a`."""
        if (
            number
            or margin is not None
            or len(weights) != 2
            or sorted(w > 0 for w in weights.values()) != [False, True]
        ):
            raise _unclear(self.text, "step times are compared as step_time(x) < FACTOR * step_time(y)")
        (above, a), (below, b) = sorted(weights.items(), key=lambda item: -item[1])
        ratio = (above, below) if self.first == above else (below, above)
        signs = MappingProxyType({above: 1.0, below: -1.0})
        return Expectation(self.text, STEP_TIME, signs, math.log(-b / a), ratio=ratio)
