"""The content of /diagnostics: statuses of input, tracker and timing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from dytrack_ros.nodes.faults import (
    INIT_REFUSED,
    NO_IMAGE,
    ODD_STAMP,
    TIME_JUMP,
    TRACKING_FAILED,
    UNREADABLE_IMAGE,
)
from dytrack_ros.nodes.follower import Outcome
from dytrack_ros.nodes.messages import diagnostics_message
from dytrack_ros.tracking import TrackState


@dataclass
class Health:
    """State of the node; the node updates it before every report.

    Attributes:
        model, model_reason: the model's name, and why it was taken.
        engine, engine_failures: the engine in use, and why each engine before it was given up.
        silent_s: seconds since the last image.
        publishers: the image topic's publishers, each with its QoS.
        refused: how often the middleware has found a publisher with an incompatible QoS.
        incompatibility: publishers with an incompatible QoS and the fix; empty without any.
        wiring: why no image can come, such as a publisher of another type, and the fix; empty if unknown.
        rate_hz: images a second since the last report.
        latency_ms, image_age_ms: of the last frame.
        budget, budget_sentence: the time budget as values, by key, and as a sentence.
        faults, new_faults: number of faults by kind, since the start and since the last report.
    """

    topic: str
    model: str
    model_reason: str
    silence_limit_s: float
    engine: str = ""
    engine_failures: tuple[str, ...] = ()
    received: int = 0
    late: int = 0
    dropped: int = 0
    silent_s: float = 0.0
    rate_hz: float = 0.0
    publishers: list[str] = field(default_factory=list)
    refused: int = 0
    incompatibility: str = ""
    wiring: str = ""
    enabled: bool = True
    outcome: Outcome | None = None
    latency_ms: float = 0.0
    image_age_ms: float = 0.0
    budget: Mapping[str, str] = field(default_factory=dict)
    budget_sentence: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    new_faults: Counter[str] = field(default_factory=Counter)

    @property
    def is_silent(self) -> bool:
        return self.silent_s >= self.silence_limit_s

    def silence(self) -> str:
        """Describe since when no image has come, on which topic, and who publishes there."""
        count = len(self.publishers)
        publishers = f"{count or 'no'} publisher{'s' * (count != 1)}" + (" with " if count else "")
        sentence = f"{NO_IMAGE} for {self.silent_s:.0f} s on {self.topic}, {publishers}{'; '.join(self.publishers)}"
        return f"{sentence}; {self.wiring}" if self.wiring else sentence


def report(node_name: str, health: Health) -> DiagnosticArray:
    """Make the three statuses of a node, without a stamp."""
    tasks = {"input": _input(health), "tracker": _tracker(health), "timing": _timing(health)}
    return diagnostics_message(node_name, tasks)


def _input(health: Health) -> tuple[bytes, str, dict]:
    values = {
        "topic": health.topic,
        "enabled": health.enabled,
        "publishers": len(health.publishers),
        "refused_publishers": health.refused,
        "received": health.received,
        "rate_hz": f"{health.rate_hz:.1f}",
        "dropped": health.dropped,
        "late": health.late,
        UNREADABLE_IMAGE: health.faults[UNREADABLE_IMAGE],
        ODD_STAMP: health.faults[ODD_STAMP],
        TIME_JUMP: health.faults[TIME_JUMP],
    }
    if not health.enabled:
        return DiagnosticStatus.OK, "disabled: images are ignored", values
    if health.incompatibility:
        return DiagnosticStatus.ERROR, health.incompatibility, values
    if health.is_silent:
        return DiagnosticStatus.WARN, health.silence(), values
    if unreadable := health.new_faults[UNREADABLE_IMAGE]:
        return DiagnosticStatus.ERROR, f"{unreadable} unreadable images", values
    if odd := health.new_faults[ODD_STAMP]:
        return DiagnosticStatus.WARN, f"{odd} images with odd stamps, see the log", values
    return DiagnosticStatus.OK, f"{health.rate_hz:.1f} images a second", values


def _tracker(health: Health) -> tuple[bytes, str, dict]:
    outcome = health.outcome
    state = outcome.state if outcome else TrackState.IDLE
    values = {
        "model": health.model,
        "model_reason": health.model_reason,
        "engine": health.engine,
        "engine_failures": "; ".join(health.engine_failures),
        "state": state.name,
        "target_id": outcome.target_id if outcome else "",
        "score": f"{outcome.score if outcome else 0.0:.3f}",
        INIT_REFUSED: health.faults[INIT_REFUSED],
        TRACKING_FAILED: health.faults[TRACKING_FAILED],
    }
    level, words = _target(health, state)
    if health.engine_failures:
        level = max(level, DiagnosticStatus.WARN)
        words = f"{words}; {values['engine_failures']}; {health.engine} is used instead"
    return level, words, values


def _target(health: Health, state: TrackState) -> tuple[bytes, str]:
    if health.new_faults[TRACKING_FAILED]:
        return DiagnosticStatus.ERROR, "tracking failed, see the log; waiting for init"
    if health.new_faults[INIT_REFUSED]:
        return DiagnosticStatus.WARN, "init refused, see the log"
    if health.outcome is None or state == TrackState.IDLE:
        return DiagnosticStatus.OK, "idle, waiting for init"
    level = DiagnosticStatus.OK if state == TrackState.TRACKING else DiagnosticStatus.WARN
    return level, f"{state.name.lower()} {health.outcome.target_id}"


def _timing(health: Health) -> tuple[bytes, str, dict]:
    values: dict[str, Any] = {"latency_ms": f"{health.latency_ms:.1f}", "image_age_ms": f"{health.image_age_ms:.1f}"}
    if health.outcome and health.outcome.result:
        values["track_ms"] = f"{health.outcome.result.seconds * 1e3:.1f}"
        values["exit_index"] = health.outcome.result.exit_index
    # A budget that cannot be kept is a setting of the user or of the camera, not a fault of the node.
    words = "; ".join(filter(None, (f"{health.latency_ms:.0f} ms from image to box", health.budget_sentence)))
    return DiagnosticStatus.OK, words, {**values, **health.budget}
