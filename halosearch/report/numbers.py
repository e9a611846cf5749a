"""Numbers as pages and terminal write them: few digits, units, round labels."""

from __future__ import annotations

import math
import re

FRACTIONS = {0.125: "⅛", 0.25: "¼", 0.5: "½", 0.75: "¾", 0.375: "⅜"}


def amount(value: float) -> str:
    """A count with three digits and its unit apart: 20 M, 5.5 M, 704 M, 11.9 G."""
    for scale, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if float(f"{value / scale:.3g}") >= 1:
            return f"{value / scale:.3g}{letter}"
    return f"{value:g}"


def fraction(share: float) -> str:
    """A share of the width: ⅛."""
    return FRACTIONS.get(share, f"{share:g}")


def duration(seconds: float) -> str:
    """A time for people: 42 s, 9 min 21 s, 3 h 12 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def seconds_words(seconds: float | None) -> str:
    """Seconds to three significant digits, in ms below one second."""
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def short_number(value: float) -> str:
    """Four digits and a letter for thousands: 20.91M. The page's script writes numbers the same way."""
    for unit, scale, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= unit:
            return f"{_plain(value / scale)}{letter}"
    return _plain(value)


def _plain(value: float) -> str:
    """Four digits, without an exponent where JavaScript writes none."""
    rounded = float(f"{value:.4g}")
    if rounded == 0 or 1e-6 <= abs(rounded) < 1e21:
        return f"{rounded:.10f}".rstrip("0").rstrip(".")
    return re.sub(r"e([+-])0*(\d+)$", r"e\1\2", f"{rounded:.4g}")


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between low and high: few, and at least four where there are as many. The page's script has the same."""
    found: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [value for p in powers for step in steps if low <= (value := float(f"{step * 10.0**p:.3g}")) <= high]
        if len(found) >= 4:
            break
    return found
