"""Search exit thresholds with the highest accuracy for each mean cost, and make them a nested family."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dytrack_ros.policies.thresholds import ThresholdFamily

Thresholds = tuple[float, ...]
MIN_THRIFT_STEP = 1e-3  # rows closer than this are one row


@dataclass(frozen=True)
class ExitSample:
    """One calibration frame: predicted and true IoU of every exit on the same crop."""

    scores: tuple[float, ...]
    ious: tuple[float, ...]


@dataclass(frozen=True)
class Mix:
    """Mean cost, mean IoU and each exit's share of frames that ``thresholds`` give over a set of frames."""

    thresholds: Thresholds
    cost: float
    iou: float
    shares: tuple[float, ...]


def exit_taken(scores: Sequence[float], thresholds: Thresholds) -> int:
    """Return the 0-based exit of the paper's rule, ``min{k : s_k > tau_k}``."""
    for position, (score, tau) in enumerate(zip(scores, thresholds, strict=False)):
        if score > tau:
            return position
    return len(scores) - 1


def mix(samples: Sequence[ExitSample], thresholds: Thresholds, costs: Sequence[float]) -> Mix:
    """Apply ``thresholds`` to the frames; ``costs`` are c_1 ... c_K in any unit."""
    taken = [exit_taken(sample.scores, thresholds) for sample in samples]
    count = len(samples)
    return Mix(
        thresholds,
        cost=sum(costs[position] for position in taken) / count,
        iou=sum(sample.ious[position] for sample, position in zip(samples, taken, strict=True)) / count,
        shares=tuple(taken.count(position) / count for position in range(len(costs))),
    )


def _grid(samples: Sequence[ExitSample], position: int, levels: int) -> list[float]:
    """Return ``levels`` + 1 falling quantiles of an exit's scores: no score exceeds the first, all exceed the last."""
    ordered = sorted(sample.scores[position] for sample in samples)
    return [quantile(ordered, 1 - level / levels) for level in range(levels)] + [ordered[0] - 1e-6]


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the quantile ``part`` in [0, 1] of ``ordered`` values by linear interpolation."""
    place = part * (len(ordered) - 1)
    low = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def direct_path(samples: Sequence[ExitSample], costs: Sequence[float], levels: int = 24) -> list[Mix]:
    """Return the best nested path through a grid of thresholds, by dynamic programming.

    Each tau_k takes ``levels`` quantiles of s_k, and a step lowers one of them. Of all such paths from full depth to
    the first exit, the result has the greatest area under mean IoU against mean cost.
    """
    grids = [_grid(samples, position, levels) for position in range(len(costs) - 1)]
    corner = tuple(len(grid) - 1 for grid in grids)
    cells: dict[tuple[int, ...], Mix] = {}
    best: dict[tuple[int, ...], tuple[float, tuple[int, ...] | None]] = {}
    for index in itertools.product(*(range(len(grid)) for grid in grids)):
        cell = mix(samples, tuple(grid[i] for grid, i in zip(grids, index, strict=True)), costs)
        cells[index] = cell
        options = [
            (best[before][0] + (cells[before].iou + cell.iou) / 2 * (cells[before].cost - cell.cost), before)
            for before in _predecessors(index)
        ]
        best[index] = max(options, key=lambda option: option[0]) if options else (0.0, None)
    path: list[Mix] = []
    step: tuple[int, ...] | None = corner
    while step is not None:
        path.append(cells[step])
        step = best[step][1]
    return path[::-1]


def _predecessors(index: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for axis, value in enumerate(index):
        if value:
            yield (*index[:axis], value - 1, *index[axis + 1 :])


def mean_iou_at_costs(
    path: Sequence[Mix], samples: Sequence[ExitSample], costs: Sequence[float], points: int = 64
) -> float:
    """Return the mean IoU of a path's thresholds on ``samples``, averaged over all mean costs between c_1 and c_K."""
    measured = sorted((mix(samples, step.thresholds, costs) for step in path), key=lambda step: step.cost)
    total, start = 0.0, 0
    for point in range(points):
        cost = costs[0] + (costs[-1] - costs[0]) * (point + 0.5) / points
        while start + 2 < len(measured) and measured[start + 1].cost < cost:
            start += 1
        low, high = measured[start], measured[start + 1]
        part = (cost - low.cost) / (high.cost - low.cost) if high.cost > low.cost else 0.0
        total += low.iou + min(max(part, 0.0), 1.0) * (high.iou - low.iou)
    return total / points


def knee(path: Sequence[Mix], costs: Sequence[float], worth: float) -> Mix:
    """Return the mix of ``path`` beyond which going deeper gains too little.

    ``worth`` is the mean IoU that the time of one frame at full depth (c_K) must gain; the result maximises
    iou - worth * cost / c_K.
    """
    return max(path, key=lambda step: step.iou - worth * step.cost / costs[-1])


def family_of(path: Sequence[Mix], costs: Sequence[float]) -> tuple[ThresholdFamily, list[Mix]]:
    """Return the path as a family with thrift = (c_K - mean cost) / (c_K - c_1), and the mixes of its rows.

    A step of thrift then changes the mean cost equally everywhere, as the controller's gain assumes.
    """
    span = costs[-1] - costs[0]
    thrifts, rows = [0.0], [path[0]]
    for step in path[1:-1]:
        thrift = (costs[-1] - step.cost) / span
        if thrift - thrifts[-1] > MIN_THRIFT_STEP and thrift < 1 - MIN_THRIFT_STEP:
            thrifts.append(thrift)
            rows.append(step)
    thrifts.append(1.0)
    rows.append(path[-1])
    return ThresholdFamily(thrifts, [[min(max(tau, 0.0), 1.0) for tau in row.thresholds] for row in rows]), rows
