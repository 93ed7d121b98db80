"""Bridge from an object detector: `detections` in, `init` out while the tracker has no target.

The init carries the stamp of the detections. The tracker starts on the image that the detector saw and catches up, as
long as it still keeps that image (`catch_up.seconds`).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from vision_msgs.msg import Detection2D, Detection2DArray

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes.faults import BAD_DETECTION, NO_PICTURE_SIZE, Faults
from dytrack_ros.nodes.follower import MAX_NAME_LENGTH
from dytrack_ros.nodes.messages import INIT_QOS, box_of, detection_message, stamp_ns
from dytrack_ros.nodes.parameter_schema import LiveParameters, Parameter
from dytrack_ros.nodes.run import RunnableNode, run
from dytrack_ros.tracking import TrackState
from dytrack_ros.tracking.box import MIN_INIT_SIDE_PX, Box

Point = tuple[float, float]
Size = tuple[int, int]

BEST_SCORE, LARGEST, NEAREST_CENTRE, NEAREST_LAST = CHOICES = (
    "best_score",
    "largest",
    "nearest_centre",
    "nearest_last",
)

PARAMETERS = (
    Parameter("enabled", True, "Publish inits; false leaves the tracker alone, for instance after ~/stop."),
    Parameter("class_id", "", "Class to follow, as the detector names it, such as person; empty: any."),
    Parameter("min_score", 0.5, "Least score of that class that a detection must have.", 0.0, 1.0),
    Parameter(
        "choose",
        BEST_SCORE,
        "Which of several detections is taken: the one with the best score, the largest, the nearest to the centre of "
        "the image, or the nearest to the last target (best_score while there was none).",
        choices=CHOICES,
    ),
    Parameter("holdoff_s", 1.0, "Least time between two inits, s.", 0.0, 60.0),
    Parameter(
        "picture.width",
        0,
        "Width of the picture that the detector works on, pixels, such as 640; boxes are scaled from it to the image's "
        "width in camera_info. 0: boxes are in pixels of the image.",
        0,
        65_535,
    ),
    Parameter(
        "picture.height",
        0,
        "Height of the picture that the detector works on, pixels; boxes are scaled from it to the image's height in "
        "camera_info. 0: boxes are in pixels of the image.",
        0,
        65_535,
    ),
)

# Best effort is compatible with every detector. A lost array does no harm: the next one will do.
DETECTIONS_QOS = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=5)
MAX_CLASSES_LOGGED = 10
# Larger than any image. The tracker would refuse such a box, but `largest` would prefer it to all others.
MAX_PX = 100_000.0


@dataclass(frozen=True)
class Detection:
    """A detection that may become the target.

    Attributes:
        box: x, y, w, h in pixels.
        score: of its class, in [0, 1].
    """

    box: Box
    score: float
    class_id: str
    id: str = ""

    @property
    def centre(self) -> Point:
        x, y, width, height = self.box
        return x + width / 2, y + height / 2


def read_detection(box: Box, hypotheses: Iterable[Any], class_id: str, id: str = "") -> Detection | None:
    """Return a detection with its score for `class_id` (empty: its best class), None if it has no such class.

    Args:
        box: x, y, w, h in pixels.
        hypotheses: objects with `class_id` and `score`. Scores that are not finite are ignored. A detection without
            hypotheses has the class "" and score 0.

    Raises:
        ValueError: the box is not finite, too large or too small.
    """
    if not all(abs(value) <= MAX_PX for value in box) or min(box[2:]) < MIN_INIT_SIDE_PX:
        raise ValueError(
            f"box {tuple(float(f'{value:.4g}') for value in box)} must be of numbers within {MAX_PX:g} and at least "
            f"{MIN_INIT_SIDE_PX:g} px a side"
        )
    scores = [
        (one.score, one.class_id) for one in hypotheses if class_id in ("", one.class_id) and math.isfinite(one.score)
    ]
    if not scores and class_id:
        return None
    score, name = max(scores, default=(0.0, ""))
    return Detection(box, score, name, id)


def scaled(box: Box, picture: Size, image: Size) -> Box:
    """Return a box (x, y, w, h in pixels of the detector's `picture`) in pixels of the `image`; sizes are w, h."""
    x_scale, y_scale = image[0] / picture[0], image[1] / picture[1]
    return box[0] * x_scale, box[1] * y_scale, box[2] * x_scale, box[3] * y_scale


def choose(detections: list[Detection], how: str, centre: Point | None = None, last: Point | None = None) -> Detection:
    """Return the detection that `how`, one of :data:`CHOICES`, prefers.

    Args:
        detections: at least one.
        centre: of the image in pixels; `nearest_centre` needs it.
        last: where the last target was, in pixels; without it `nearest_last` takes the best score.
    """
    if how == LARGEST:
        return max(detections, key=lambda one: one.box[2] * one.box[3])
    place = {NEAREST_CENTRE: centre, NEAREST_LAST: last}.get(how)
    if place is None:
        return max(detections, key=lambda one: one.score)
    return min(detections, key=lambda one: math.dist(one.centre, place))


class Handover:
    """Decides when an init may be sent: the tracker reports no target, and the last init is old enough.

    Times are in seconds on any one clock.
    """

    # A tracker that has been silent for this long has ended, is disabled or gets no images: it would not answer.
    SILENCE_LIMIT_S = 3.0

    def __init__(self) -> None:
        self._state: int | None = None
        self._heard_s = self._sent_s = -math.inf

    def heard(self, state: int, now_s: float) -> None:
        """Take the state of a status."""
        self._state, self._heard_s = state, now_s

    def sent(self, now_s: float) -> None:
        """Take note that an init has been sent."""
        self._sent_s = now_s

    def is_due(self, now_s: float, holdoff_s: float) -> bool:
        """Return whether an init may be sent now."""
        is_free = self._state in (TrackState.IDLE, TrackState.LOST)
        return is_free and now_s - self._heard_s <= self.SILENCE_LIMIT_S and now_s - self._sent_s >= holdoff_s


class InitFromDetections(RunnableNode):
    """Subscribes to `detections`, to the tracker's `status` and `detection`, and to `camera_info`; publishes `init`.

    The init's `id` is the detection's, or its class where that is empty.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("init_from_detections", **node_options)
        self._live = LiveParameters(self, PARAMETERS)
        self._live.on_change(self._on_new_parameters)
        self._faults = Faults(self.get_logger().warning, self.get_logger().error)
        self._handover = Handover()
        self._image_size: Size | None = None
        self._last_target: Point | None = None
        self._has_logged_classes = False
        self._init = self.create_publisher(Detection2D, "init", INIT_QOS)
        self.create_subscription(TrackStatus, "status", self._on_status, DETECTIONS_QOS)
        self.create_subscription(Detection2D, "detection", self._on_target, DETECTIONS_QOS)
        self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, DETECTIONS_QOS)
        self.create_subscription(Detection2DArray, "detections", self._on_detections, DETECTIONS_QOS)
        wanted = f"'{self._live['class_id']}'" if self._live["class_id"] else "any class"
        self.get_logger().info(
            f"hands {wanted} over from {self.resolve_topic_name('detections')} to {self.resolve_topic_name('init')}"
        )

    def _on_new_parameters(self) -> None:
        self._has_logged_classes = False

    def _on_status(self, message: TrackStatus) -> None:
        self._handover.heard(message.state, time.monotonic())

    def _on_target(self, message: Detection2D) -> None:
        position = message.bbox.center.position
        self._last_target = position.x, position.y

    def _on_camera_info(self, message: CameraInfo) -> None:
        if message.width and message.height:
            self._image_size = message.width, message.height

    def _on_detections(self, message: Detection2DArray) -> None:
        if not self._live["enabled"] or not self._handover.is_due(time.monotonic(), self._live["holdoff_s"]):
            return
        how, picture = self._live["choose"], (self._live["picture.width"], self._live["picture.height"])
        if self._image_size is None and (any(picture) or how == NEAREST_CENTRE):
            setting = "picture.width and picture.height are set" if any(picture) else f"choose is {NEAREST_CENTRE}"
            self._faults.report(
                NO_PICTURE_SIZE,
                f"{setting}, but the image's size has not come on {self.resolve_topic_name('camera_info')}; remap that",
            )
            return
        if detections := self._read(message, picture):
            image = self._image_size
            centre = (image[0] / 2, image[1] / 2) if image else None
            self._hand_over(message, choose(detections, how, centre, self._last_target))

    def _read(self, message: Detection2DArray, picture: Size) -> list[Detection]:
        """Return the detections of the wanted class, in pixels of the image, with at least the least score."""
        detections = []
        for one in message.detections:
            hypotheses = [result.hypothesis for result in one.results]
            try:
                detection = read_detection(self._image_box(one, picture), hypotheses, self._live["class_id"], one.id)
            except ValueError as error:
                self._faults.report(BAD_DETECTION, f"{error}; it is ignored")
                continue
            if detection:
                detections.append(detection)
        if message.detections and not detections:
            self._log_classes(message)
        return [detection for detection in detections if detection.score >= self._live["min_score"]]

    def _image_box(self, message: Detection2D, picture: Size) -> Box:
        box, image = box_of(message), self._image_size
        if image is None:
            return box
        box = scaled(box, (picture[0] or image[0], picture[1] or image[1]), image)
        centre = box[0] + box[2] / 2, box[1] + box[3] / 2
        # Numbers that are not finite are for read_detection.
        if all(map(math.isfinite, box)) and not (0 <= centre[0] <= image[0] and 0 <= centre[1] <= image[1]):
            raise ValueError(
                f"box {tuple(float(f'{value:.4g}') for value in box)} lies outside the image of {image[0]}x{image[1]}: "
                "set picture.width and picture.height to the size of the detector's picture"
            )
        return box

    def _log_classes(self, message: Detection2DArray) -> None:
        """Log once which classes come instead of the wanted one: its name may be misspelt."""
        names = {result.hypothesis.class_id for detection in message.detections for result in detection.results}
        if names and self._live["class_id"] and not self._has_logged_classes:
            self._has_logged_classes = True
            shown = ", ".join(repr(name[:40]) for name in sorted(names)[:MAX_CLASSES_LOGGED])
            self.get_logger().info(f"no '{self._live['class_id']}' yet (class_id); the detector sees {shown}")

    def _hand_over(self, message: Detection2DArray, chosen: Detection) -> None:
        name = (chosen.id or chosen.class_id)[:MAX_NAME_LENGTH]
        self._init.publish(detection_message(message.header, chosen.box, chosen.score, name))
        self._handover.sent(time.monotonic())
        x, y, width, height = chosen.box
        self.get_logger().info(
            f"init of '{name}', score {chosen.score:.2f}, {width:.0f}x{height:.0f} px at ({x:.0f}, {y:.0f}), "
            f"on the image stamped {stamp_ns(message.header) * 1e-9:.3f} s"
        )


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run dytrack_ros init_from_detections`; returns the exit code."""
    return run(InitFromDetections, args)


if __name__ == "__main__":
    sys.exit(main())
