"""Base of the bridges that say where the target is: results joined by stamp, camera model, state, diagnostics."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CameraInfo
from vision_msgs.msg import Detection2D

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes.bridges.target_geometry import CameraInfoError, CameraModel, Sight, sight_of
from dytrack_ros.nodes.faults import BAD_CAMERA_INFO, BAD_DETECTION, Faults
from dytrack_ros.nodes.messages import RESULT_QOS, box_of, diagnostics_message, image_qos, stamp_ns
from dytrack_ros.nodes.parameter_schema import LiveParameters, Parameter
from dytrack_ros.nodes.run import RunnableNode
from dytrack_ros.tracking import TrackState

PARAMETERS = (
    Parameter("uncertain_s", 0.5, "How long the target may be UNCERTAIN before nothing is published, s.", 0.0, 60.0),
    Parameter("rectified", False, "The images are rectified: p of camera_info counts, without distortion."),
)

REPORT_PERIOD_S = 1.0
NO_TARGET, NO_READER, NO_RESULT = "no target", "nobody subscribes", "the tracker sends nothing"


class ResultPairs:
    """Joins the detection and the status of a frame by their stamp, in either order; keeps the newest few of both."""

    KEPT = 20

    def __init__(self) -> None:
        self._detections: dict[int, Detection2D] = {}
        self._statuses: dict[int, TrackStatus] = {}

    def add(self, message: Detection2D | TrackStatus) -> tuple[Detection2D, TrackStatus] | None:
        """Return the pair that this message completes, if any."""
        is_status = isinstance(message, TrackStatus)
        own: dict[int, Any] = self._statuses if is_status else self._detections
        other: dict[int, Any] = self._detections if is_status else self._statuses
        stamp = stamp_ns(message.header)
        if stamp in other:
            partner = other.pop(stamp)
            return (partner, message) if is_status else (message, partner)
        own.pop(stamp, None)
        own[stamp] = message
        if len(own) > self.KEPT:
            del own[next(iter(own))]
        return None


class TargetListener(RunnableNode):
    """Subscribes to `detection`, `status` and `camera_info`; calls `_on_target` for each box that can be trusted.

    That is while TRACKING, and while UNCERTAIN for `uncertain_s` at most. Diagnostics say why nothing is published.
    """

    def __init__(self, name: str, parameters: tuple[Parameter, ...], **node_options: Any) -> None:
        super().__init__(name, **node_options)
        self._live = LiveParameters(self, (*parameters, *PARAMETERS))
        self._faults = Faults(self.get_logger().warning, self.get_logger().error)
        self._camera: CameraModel | None = None
        self._pairs = ResultPairs()
        self._state = TrackState.IDLE
        self._uncertain_since_s: float | None = None
        self._counts: Counter[str] = Counter()
        self._published_before = 0
        self._answer, self._silent_because = "", NO_TARGET
        self.create_subscription(Detection2D, "detection", self._on_result, RESULT_QOS)
        self.create_subscription(TrackStatus, "status", self._on_result, RESULT_QOS)
        self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, image_qos())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # On a steady clock, because simulated time may stand still.
        self.create_timer(REPORT_PERIOD_S, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # ---- for the bridges

    def _is_read(self) -> bool:
        """Whether anybody wants what this bridge publishes."""
        raise NotImplementedError

    def _on_target(self, detection: Detection2D, camera: CameraModel, sight: Sight) -> None:
        """Take a box that can be trusted."""
        raise NotImplementedError

    def _on_loss(self) -> None:
        """Forget the target: it is LOST, or there is none."""

    def _silent(self, reason: str) -> None:
        """Take note that nothing is published for a frame."""
        self._silent_because = reason
        self._counts[f"silent: {reason}"] += 1

    def _published(self, answer: str) -> None:
        """Take note of what was published for a frame."""
        self._answer, self._silent_because = answer, NO_RESULT
        self._counts["published"] += 1

    # ---- messages

    def _on_camera_info(self, message: CameraInfo) -> None:
        try:
            self._camera = CameraModel.of(message, self._live["rectified"])
        except CameraInfoError as error:
            self._camera = None
            self._faults.report(BAD_CAMERA_INFO, str(error))

    def _on_result(self, message: Detection2D | TrackStatus) -> None:
        if isinstance(message, TrackStatus):
            self._on_state(message)
        pair = self._pairs.add(message)
        if pair is None or not self._is_trusted(pair[1]):
            return
        detection = pair[0]
        if not self._is_read():
            self._silent(NO_READER)
        elif self._camera is None:
            self._silent(f"no calibration on {self.resolve_topic_name('camera_info')}")
        elif (sight := sight_of(self._camera, box_of(detection))) is None:
            box = tuple(float(f"{value:.4g}") for value in box_of(detection))
            self._faults.report(BAD_DETECTION, f"box {box} is outside of what the camera can see; it is ignored")
            self._silent(BAD_DETECTION)
        else:
            self._on_target(detection, self._camera, sight)

    def _on_state(self, message: TrackStatus) -> None:
        is_followed = message.state in (TrackState.TRACKING, TrackState.UNCERTAIN)
        self._state = TrackState(message.state) if is_followed or message.state == TrackState.LOST else TrackState.IDLE
        if not is_followed:
            self._on_loss()
        if message.state != TrackState.UNCERTAIN:
            self._uncertain_since_s = None
        elif self._uncertain_since_s is None:
            self._uncertain_since_s = _time_s(message)

    def _is_trusted(self, status: TrackStatus) -> bool:
        if status.state == TrackState.TRACKING:
            return True
        if status.state != TrackState.UNCERTAIN:
            self._silent(self._state.name if status.state == TrackState.LOST else NO_TARGET)
            return False
        since_s = self._uncertain_since_s
        is_short = since_s is not None and abs(_time_s(status) - since_s) <= self._live["uncertain_s"]
        if not is_short:
            self._silent(f"UNCERTAIN for over {self._live['uncertain_s']:g} s")
        return is_short

    def _report(self) -> None:
        has_published = self._counts["published"] > self._published_before
        self._published_before = self._counts["published"]
        is_idle = self._state == TrackState.IDLE
        reason = self._state.name if self._state == TrackState.LOST else NO_TARGET if is_idle else self._silent_because
        is_fine = has_published or is_idle or reason == NO_READER
        values = {"state": self._state.name, **self._counts, **self._faults.counts}
        level = DiagnosticStatus.OK if is_fine else DiagnosticStatus.WARN
        sentence = self._answer if has_published else f"silent: {reason}"
        message = diagnostics_message(self.get_fully_qualified_name(), {"target": (level, sentence, values)})
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _time_s(message: TrackStatus) -> float:
    """Return a frame's time in seconds: its stamp, or that of its arrival if the camera does not stamp its images."""
    return stamp_ns(message.header) * 1e-9 or time.monotonic()
