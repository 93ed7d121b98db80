from dytrack_ros.policies import FixedExit as FixedExit
from dytrack_ros.policies import FixedThresholds as FixedThresholds
from dytrack_ros.policies import FrameBudget as FrameBudget
from dytrack_ros.policies import RandomExit as RandomExit
from dytrack_ros.tracking import DyTracker as DyTracker
from dytrack_ros.tracking import TrackerConfig as TrackerConfig
from dytrack_ros.tracking import TrackResult as TrackResult
from dytrack_ros.tracking import TrackState as TrackState

__version__: str
