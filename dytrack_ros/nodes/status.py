"""The status message: what the tracker knows after a frame."""

from __future__ import annotations

import time

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes.budgeting import NodeBudget
from dytrack_ros.nodes.follower import Outcome
from dytrack_ros.nodes.messages import stamp_ns


def status_message(
    outcome: Outcome, exit_count: int, budget: NodeBudget, frames_dropped: int, now_ns: int
) -> TrackStatus:
    """What `status` says of a frame, given the node's clock in nanoseconds at the moment of publication.

    `image_age_ms` is NaN for a camera that stamps nothing. `budget` must not have prepared another frame yet.
    """
    header = outcome.frame.message.header
    stamp = stamp_ns(header)
    terms = budget.terms
    status = TrackStatus(
        header=header,
        target_id=outcome.target_id,
        state=int(outcome.state),
        exit_count=exit_count,
        score=float(outcome.score),
        exit_thresholds=list(terms.thresholds),
        latency_ms=(time.monotonic() - outcome.frame.received_s) * 1e3,
        image_age_ms=(now_ns - stamp) * 1e-6 if stamp else float("nan"),
        budget_ms=terms.budget_s * 1e3,
        thrift=terms.thrift,
        slowdown=terms.slowdown,
        deadline_cut=outcome.result is not None and budget.was_cut,
        frames_dropped=frames_dropped,
    )
    if outcome.result is not None:
        status.exit_index = outcome.result.exit_index
        status.exit_scores = [float(score) for score in outcome.result.exit_scores]
        status.stage_ms = [seconds * 1e3 for seconds in outcome.result.stage_seconds]
    return status
