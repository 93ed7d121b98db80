"""The runs that the options of ``dytrack evaluate`` ask for: variants x rates x policies."""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.run import mean, times_ms
from dytrack_ros.policies import (
    ExitPolicy,
    FixedExit,
    FixedThresholds,
    FrameBudget,
    RandomExit,
    default_thresholds,
)
from dytrack_ros.policies.budget_source import BudgetSource
from dytrack_ros.tracking import TrackResult

ADAPTIVE = "adaptive"  # FixedThresholds
CAMERA = "camera"


@dataclass(frozen=True)
class Budget:
    """Milliseconds a frame: ``budget_ms`` in the mean, ``deadline_ms`` at most (None: no limit)."""

    budget_ms: float
    deadline_ms: float | None = None

    def compare(self, results: Iterable[TrackResult]) -> dict:
        """Return the budget and the measured times, over all frames."""
        seconds = [result.seconds for result in results]
        over = None if self.deadline_ms is None else mean(1e3 * value > self.deadline_ms for value in seconds)
        return {**asdict(self), **times_ms(seconds), "over_deadline": over}


@dataclass(frozen=True)
class RunSpec:
    """A pass over all sequences of a set with one policy.

    A policy with a budget keeps what it learnt from one sequence to the next, as in a node; other policies start anew
    with every sequence. ``stream_hz`` is None offline, ``policy`` None for a peer (another tracker).
    """

    variant: str
    stream_hz: float | None
    policy_name: str
    policy: ExitPolicy | None
    budget: Budget | None = None

    @property
    def is_peer(self) -> bool:
        return self.policy is None

    def policy_for(self, sequence: Sequence) -> ExitPolicy | None:
        """Return the policy; a random one is seeded by the sequence's name, whichever sequences run before."""
        if isinstance(self.policy, RandomExit):
            return RandomExit(self.policy.probabilities, seed=zlib.crc32(sequence.name.encode()))
        return self.policy


def run_matrix(
    args: argparse.Namespace, exit_count: int, first_exit_s: float = 0.0, peers: Iterable[str] = ()
) -> list[RunSpec]:
    """Return the runs in the order of the table, each with policies of its own.

    ``first_exit_s`` is the time of exit 1 on this machine; ``peers`` are names of other trackers, which run at every
    rate too. Raises ValueError for options that contradict each other.
    """
    rates: list[float | None] = [*([] if args.no_offline else [None]), *args.stream]
    if not rates:
        raise ValueError("--no-offline leaves nothing to run: give --stream HZ too")
    if args.deadline_ms is not None and not args.budget_ms:
        raise ValueError("--deadline-ms belongs to a budget: give --budget-ms too")
    if CAMERA in args.budget_ms and not args.stream:
        raise ValueError("--budget-ms camera is the period of a stream: give --stream HZ too")
    if args.card and args.no_offline:
        raise ValueError("--card takes offline results only: leave out --no-offline")
    runs = []
    for variant in dict.fromkeys(args.variants):
        for hz in rates:
            for name, policy in policies(args.exits, exit_count, args.thresholds).items():
                runs.append(RunSpec(variant, hz, name, policy))
            for name, budget in budgets(args.budget_ms, args.deadline_ms, hz, first_exit_s).items():
                runs.append(RunSpec(variant, hz, name, frame_budget(budget), budget))
            runs += [RunSpec(variant, hz, name, None) for name in peers]
    if not runs:
        raise ValueError("nothing to run: --exits none needs --budget-ms or a peer")
    return runs


def policies(names: str, exit_count: int, thresholds: list[float] | None) -> dict[str, ExitPolicy]:
    """Return the policies that ``--exits`` names, such as ``1,2,adaptive``.

    Raises ValueError for an unknown name or a wrong number of thresholds.
    """
    chosen: dict[str, ExitPolicy] = {}
    for name in [] if names == "none" else names.split(","):
        if name == ADAPTIVE:
            policy = FixedThresholds(thresholds or default_thresholds(exit_count))
            if len(policy.thresholds) != exit_count - 1:
                raise ValueError(
                    f"--thresholds {thresholds} must be {exit_count - 1} numbers, one for each exit but the last"
                )
            chosen[name] = policy
        elif name == "random":
            chosen[name] = RandomExit([1 / exit_count] * exit_count)
        elif name.isdigit() and 1 <= int(name) <= exit_count:
            chosen[f"exit {name}"] = FixedExit(int(name))
        else:
            raise ValueError(
                f"--exits {name!r} must be a number from 1 to {exit_count}, `adaptive`, `random` or `none`"
            )
    return chosen


def budgets(
    chosen: Iterable[float | str], deadline_ms: float | None, stream_hz: float | None, first_exit_s: float
) -> dict[str, Budget]:
    """Return the budgets by name.

    ``camera`` is the node's budget for a camera with the stream's period. It has no meaning offline and is left out
    there.
    """
    named = {}
    for value in chosen:
        if not isinstance(value, str):
            named[f"budget {value:g} ms"] = Budget(value, deadline_ms)
        elif stream_hz is not None:
            camera_s = BudgetSource(CAMERA).budget_s(1 / stream_hz, first_exit_s=first_exit_s)
            if camera_s is None:
                raise ValueError(f"--stream {stream_hz:g} gives --budget-ms camera no period")
            named["budget camera"] = Budget(1e3 * camera_s, deadline_ms)
    return named


def frame_budget(budget: Budget) -> FrameBudget:
    """Return the policy that keeps ``budget``. Raises ValueError for a budget out of range."""
    deadline_s = None if budget.deadline_ms is None else budget.deadline_ms / 1e3
    return FrameBudget(budget.budget_ms / 1e3, deadline_s)
