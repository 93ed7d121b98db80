"""The status message: what the tracker knows after a frame."""

from __future__ import annotations

import time

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes.follower import Outcome
from dytrack_ros.nodes.messages import stamp_ns
from dytrack_ros.tracking import DyTracker


def status_message(outcome: Outcome, tracker: DyTracker, frames_dropped: int, now_ns: int) -> TrackStatus:
    """What `status` says of a frame, given the node's clock in nanoseconds at the moment of publication.

    `image_age_ms` is NaN for a camera that stamps nothing. The time budget's figures are those of the exit policy, and
    0, 0 and 1 for a policy that keeps none.
    """
    header = outcome.frame.message.header
    stamp = stamp_ns(header)
    policy = tracker.policy
    status = TrackStatus(
        header=header,
        target_id=outcome.target_id,
        state=int(outcome.state),
        exit_count=tracker.exit_count,
        score=float(outcome.score),
        exit_thresholds=[float(threshold) for threshold in getattr(policy, "thresholds", ())],
        latency_ms=(time.monotonic() - outcome.frame.received_s) * 1e3,
        image_age_ms=(now_ns - stamp) * 1e-6 if stamp else float("nan"),
        budget_ms=getattr(policy, "budget_s", 0.0) * 1e3,
        thrift=float(getattr(policy, "thrift", 0.0)),
        slowdown=float(getattr(policy, "slowdown", 1.0)),
        deadline_cut=bool(getattr(policy, "deadline_cut", False)),
        frames_dropped=frames_dropped,
    )
    if outcome.result is not None:
        status.exit_index = outcome.result.exit_index
        status.exit_scores = [float(score) for score in outcome.result.exit_scores]
        status.stage_ms = [seconds * 1e3 for seconds in outcome.result.stage_seconds]
    return status
