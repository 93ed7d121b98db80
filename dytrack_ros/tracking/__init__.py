"""Following one object through images: numpy, an engine and an exit policy. Works without ROS."""

from dytrack_ros.tracking.recovery import RecoverySettings
from dytrack_ros.tracking.state import StateThresholds, TrackState
from dytrack_ros.tracking.tracker import DyTracker, TrackerConfig, TrackResult

__all__ = ["DyTracker", "RecoverySettings", "StateThresholds", "TrackResult", "TrackState", "TrackerConfig"]
