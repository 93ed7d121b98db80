"""Which runs the options of ``evaluate`` ask for: every variant, at every rate, with every policy."""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import product

from dytrack_ros.data.sequences import FULL, Sequence
from dytrack_ros.evaluation.run import mean, times_ms
from dytrack_ros.policies import (
    ExitPolicy,
    ExitTrust,
    FixedExit,
    FixedThresholds,
    FrameBudget,
    RandomExit,
    default_thresholds,
)
from dytrack_ros.policies.budget_source import BudgetSource, CameraPace
from dytrack_ros.tracking import TrackResult

OFFLINE = "offline"
ADAPTIVE, TRUSTING = "adaptive", "trusting"  # by the paper's rule, and with ExitTrust
CAMERA = "camera"


@dataclass(frozen=True)
class Budget:
    """Time a frame in ms: ``budget_ms`` in the mean, ``deadline_ms`` at most (None: no limit)."""

    budget_ms: float
    deadline_ms: float | None = None

    def compare(self, results: Iterable[TrackResult]) -> dict:
        """What the frames took against it, over all frames alike."""
        seconds = [result.seconds for result in results]
        over = None if self.deadline_ms is None else mean(1e3 * value > self.deadline_ms for value in seconds)
        limits = {"budget_ms": self.budget_ms, "deadline_ms": self.deadline_ms}
        return {**limits, **times_ms(seconds), "over_deadline": over}


@dataclass(frozen=True)
class PlannedRun:
    """A pass over all sequences. The policy is this run's alone. One with a budget is new at the run's start and then kept
    from one sequence to the next, as in a node that runs on; the others know nothing of earlier sequences. ``stream_hz``
    is None offline."""

    variant: str
    stream_hz: float | None
    policy_name: str
    policy: ExitPolicy
    budget: Budget | None = None
    init: str = FULL

    @property
    def label(self) -> str:
        rate = "" if self.stream_hz is None else f", {self.stream_hz:g} Hz"
        return f"{start_name(self.variant, self.init)}{rate}, {self.policy_name}"

    @property
    def learns(self) -> bool:
        """Whether a sequence's results depend on the sequences before it."""
        return self.budget is not None

    @property
    def is_timed(self) -> bool:
        """Whether the boxes depend on how long things take."""
        return self.budget is not None or self.stream_hz is not None

    def policy_for(self, sequence: Sequence) -> ExitPolicy:
        """The policy itself; a drawn one with draws of the sequence's own, whatever was run before it."""
        if isinstance(self.policy, RandomExit):
            return RandomExit(self.policy.probabilities, seed=zlib.crc32(sequence.name.encode()))
        return self.policy

    def settings(self) -> dict:
        """What the results depend on, ready for JSON."""
        return {
            "variant": self.variant,
            "init": self.init,
            "stream_hz": self.stream_hz,
            "policy": f"{self.policy_name} {self.policy!r}",
            "budget": asdict(self.budget) if self.budget else None,
        }


@dataclass(frozen=True)
class DifficultyPass:
    """A pass that takes every exit on every frame, for the difficulty of the frames."""

    variant: str
    init: str = FULL

    learns = is_timed = False

    @property
    def label(self) -> str:
        return f"{start_name(self.variant, self.init)}, all exits"

    def settings(self) -> dict:
        return {"variant": self.variant, "init": self.init, "all_exits": True}


Pass = PlannedRun | DifficultyPass


def start_name(variant: str, init: str) -> str:
    """A variant and the part of the first box, in words."""
    return variant if init == FULL else f"{variant} {init}"


def plan(args: argparse.Namespace, exit_count: int, first_exit_s: float = 0.0) -> list[PlannedRun]:
    """The runs in the order of the table; ``first_exit_s`` is what the first exit takes on this machine.

    Raises ValueError for options that contradict each other.
    """
    if args.deadline_ms is not None and not args.budget_ms:
        raise ValueError("--deadline-ms belongs to a budget: give --budget-ms too")
    if CAMERA in args.budget_ms and args.stream == [OFFLINE]:
        raise ValueError("--budget-ms camera is the period of a stream: give --stream HZ too")
    if args.card and OFFLINE not in args.stream:
        raise ValueError("--card takes offline results only: add `offline` to --stream")
    if args.card and FULL not in args.init:
        raise ValueError("--card takes results from whole first boxes only: add `full` to --init")
    if any(args.trust) and ADAPTIVE not in args.exits.split(","):
        raise ValueError(f"--trust shifts the thresholds of `{ADAPTIVE}`: add it to --exits")
    runs = []
    for variant, init in dict.fromkeys(product(args.variants, args.init)):
        for rate in args.stream:
            hz = None if rate == OFFLINE else rate
            for name, policy in policies(args.exits, exit_count, args.thresholds, tuple(args.trust)).items():
                runs.append(PlannedRun(variant, hz, name, policy, init=init))
            for name, budget in budgets(args.budget_ms, args.deadline_ms, hz, first_exit_s).items():
                runs.append(PlannedRun(variant, hz, name, frame_budget(budget), budget, init))
    if not runs:
        raise ValueError("nothing to run: --exits none needs --budget-ms")
    if args.jobs > 1 and any(run.is_timed for run in runs):
        raise ValueError(
            "--jobs: streams and budgets depend on time, which processes take from each other; leave it at 1"
        )
    return runs


def difficulty_passes(runs: Iterable[PlannedRun]) -> list[DifficultyPass]:
    """One for each variant and part of the first box that is run."""
    return [DifficultyPass(*start) for start in dict.fromkeys((run.variant, run.init) for run in runs)]


def policies(
    spec: str, exit_count: int, thresholds: list[float] | None, trust: tuple[float, ...] = (0, 0)
) -> dict[str, ExitPolicy]:
    """The policies that ``--exits`` names; ``trust`` is the rate and the impatience of the thresholds' one. Raises ValueError
    for a name that is none."""
    chosen: dict[str, ExitPolicy] = {}
    for name in [] if spec == "none" else spec.split(","):
        if name == ADAPTIVE:
            name = TRUSTING if any(trust) else ADAPTIVE
            chosen[name] = FixedThresholds(thresholds or default_thresholds(exit_count), ExitTrust(*trust))
            if len(chosen[name].thresholds) != exit_count - 1:
                raise ValueError(
                    f"--thresholds {thresholds} must be {exit_count - 1} numbers, one an exit but the last"
                )
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
    """The budgets by name. ``camera`` is what the node makes of the stream's period, with that period as a deadline too
    (``budget.keep_period``), and none offline, where nothing has a period."""
    named = {}
    for value in chosen:
        if value != CAMERA:
            named[f"budget {value:g} ms"] = Budget(value, deadline_ms)
        elif stream_hz is not None:
            pace = CameraPace()
            camera_s = BudgetSource("camera").budget_s(1 / stream_hz, first_exit_s=first_exit_s, pace=pace)
            named["budget camera"] = Budget(1e3 * camera_s, min(deadline_ms or math.inf, 1e3 * pace.frames / stream_hz))
    return named


def frame_budget(budget: Budget) -> FrameBudget:
    """The policy that keeps ``budget``. Raises ValueError for one out of its range."""
    deadline_s = None if budget.deadline_ms is None else budget.deadline_ms / 1e3
    return FrameBudget(budget.budget_ms / 1e3, deadline_s)
