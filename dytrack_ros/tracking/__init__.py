"""Following one object through images: numpy, an engine and an exit policy. Works without ROS."""

from dytrack_ros.tracking.tracker import DyTracker, StateThresholds, TrackResult, TrackState

__all__ = ["DyTracker", "StateThresholds", "TrackResult", "TrackState"]
