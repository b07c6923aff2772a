"""Figures, and the table of them: each measured once per run, shown as median, min and max."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value."""

    case: str
    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The values of one figure over all runs."""

    case: str
    name: str
    unit: str
    values: list[float]

    def as_json(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "figure": self.name,
            "unit": self.unit,
            "min": min(self.values),
            "median": statistics.median(self.values),
            "max": max(self.values),
            "values": self.values,
        }


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that is not below `percent` % of all (nearest rank)."""
    return sorted(samples)[max(0, math.ceil(percent / 100 * len(samples)) - 1)]


def latencies(case: str, name: str, samples_ms: Sequence[float]) -> list[Figure]:
    return [
        Figure(case, f"{name}, p{percent}", percentile(samples_ms, percent), "ms")
        for percent in (50, 99)
    ]


def summarise(figures: Sequence[Figure]) -> list[Summary]:
    """Gather the runs of each figure, in the order in which the figures first appear."""
    found: dict[tuple[str, str, str], Summary] = {}
    for figure in figures:
        summary = found.setdefault(
            (figure.case, figure.name, figure.unit),
            Summary(figure.case, figure.name, figure.unit, []),
        )
        summary.values.append(figure.value)
    return list(found.values())


def table(summaries: Sequence[Summary]) -> str:
    """Lay the figures out in columns."""
    rows = [["case", "figure", "median", "min", "max", "unit"]]
    for summary in summaries:
        values = summary.as_json()
        numbers = [_shown(values[column]) for column in rows[0][2:5]]
        rows.append([summary.case, summary.name, *numbers, summary.unit])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 2 <= number <= 4 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
