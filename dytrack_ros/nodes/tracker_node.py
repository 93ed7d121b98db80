"""The ROS node: images and `init` in, `detection`, `status`, `overlay`, `markers` and diagnostics out.

The executor thread takes messages in and answers services; the worker thread decodes, tracks and publishes; a third one
draws for those who watch.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes import budget_words, diagnostics, images, parameters
from dytrack_ros.nodes.annotation import Annotation
from dytrack_ros.nodes.budgeting import BudgetSettings, NodeBudget
from dytrack_ros.nodes.drawing import Drawing
from dytrack_ros.nodes.faults import (
    DRAWING_FAILED,
    ENGINE_FAILED,
    INCOMPATIBLE_QOS,
    NO_IMAGE,
    TIME_JUMP,
    TRACKING_FAILED,
    Faults,
)
from dytrack_ros.nodes.follower import Follower, Init, Outcome
from dytrack_ros.nodes.frame_ring import FrameRing
from dytrack_ros.nodes.image_subscription import ImageSubscription
from dytrack_ros.nodes.intake import Intake
from dytrack_ros.nodes.live_parameters import LiveParameters
from dytrack_ros.nodes.mailbox import Frame, Mailbox
from dytrack_ros.nodes.messages import INIT_QOS, box_of, detection_message, error_message, stamp_ns
from dytrack_ros.nodes.run import is_stopped, leave, run
from dytrack_ros.nodes.status import status_message
from dytrack_ros.nodes.worker import Worker
from dytrack_ros.one_line import one_line
from dytrack_ros.tracking import DyTracker, RecoverySettings, StateThresholds, TemplateSettings, TrackState

RESULT_QOS = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=10)
# For control: of several errors only the newest is worth having.
ERROR_QOS = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=1)

SILENCE_LIMIT_S = 3.0
REPORT_PERIOD_S = 1.0
# A worker in the middle of a frame gets this long to finish it when the node ends, which it shall do within a second.
ENDING_PATIENCE_S = 0.3


class TrackerNode(Node):
    """Follows one target; for several, run several in different namespaces.

    The model is loaded and warmed up before the node subscribes to images, so that its first frame is as fast as any.

    Raises:
        ValueError, FileNotFoundError: a refused parameter value, a model or an engine that does not exist or fit.
    """

    def __init__(self, **node_options) -> None:
        super().__init__("tracker_node", **node_options)
        self._live = LiveParameters(self, parameters.TRACKER)
        self._faults = Faults(self.get_logger().warning, self.get_logger().error)
        self._faults_reported: Counter[str] = Counter()
        self._tracker = self._load_tracker()
        self._budget = self._measure_exits()
        self._enabled = True

        compressed = self._live["image_transport"] == "compressed"
        self._ring = FrameRing()
        self._mailbox: Mailbox[Frame] = Mailbox()
        self._follower = Follower(
            self._tracker,
            self._ring,
            images.open_compressed if compressed else images.open_image,
            self._publish,
            self._faults.report,
            self._prepare,
        )
        self._intake = Intake(self._ring, self._mailbox, self._on_time_jump, self._faults.report)
        self._worker = Worker("tracking", self._mailbox, self._work, self._on_worker_error)
        self._apply_parameters()
        self._live.on_change(self._apply_parameters)

        self._detection = self.create_publisher(Detection2D, "detection", RESULT_QOS)
        self._error = self.create_publisher(PointStamped, "error", ERROR_QOS)
        self._status = self.create_publisher(TrackStatus, "status", RESULT_QOS)
        self._drawing = Drawing(self, self._on_drawing_error)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_subscription(Detection2D, "init", self._on_init, INIT_QOS)
        # The compressed topic follows a remapping of image, as with image_transport.
        topic = self.resolve_topic_name("image") + ("/compressed" if compressed else "")
        self._images = ImageSubscription(self, CompressedImage if compressed else Image, topic, self._on_image)
        self._health = diagnostics.Health(self._images.topic, self._tracker.model_name, SILENCE_LIMIT_S)
        # On a steady clock: simulated time may stand still, and that is when diagnostics are wanted.
        self.create_timer(REPORT_PERIOD_S, self._report_health, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._drawing.start()
        self._worker.start()
        self.get_logger().info(
            f"ready: waits for images on {self._images.topic} and a box on {self.resolve_topic_name('init')}"
        )

    def close(self) -> None:
        """End the threads."""
        self._worker.end(ENDING_PATIENCE_S)
        self._drawing.end(ENDING_PATIENCE_S)

    def _load_tracker(self) -> DyTracker:
        values = self._live
        self.get_logger().info(f"loading {values['model'] or 'the default model'} ...")
        started_s = time.monotonic()
        tracker = DyTracker.from_pretrained(
            values["model"] or None,
            engine=values["engine"],
            device=values["device"],
            threads=values["threads"] or None,
            on_fallback=lambda sentence: self._faults.report(ENGINE_FAILED, sentence),
            is_ending=is_stopped,
            precision=values["precision"],
        )
        self.get_logger().info(
            f"{tracker.model_name} with {tracker.exit_count} exits on {tracker.engine_name}, loaded and warmed up in "
            f"{time.monotonic() - started_s:.1f} s; why this engine: {tracker.engine.chosen_because}"
        )
        return tracker

    def _measure_exits(self) -> NodeBudget:
        self.get_logger().info("measuring what each exit costs on this machine ...")
        budget = NodeBudget(self._tracker)
        view = budget.view()
        self.get_logger().info(f"exits cost {budget_words.exit_costs(view)} ms; {view.calibration_note}")
        return budget

    def _apply_parameters(self) -> None:
        values = self._live
        states = StateThresholds(
            values["lost.uncertain_score"], values["lost.score"], values["lost.hysteresis"], values["lost.frames"]
        )
        recovery = RecoverySettings(values["lost.deepen"], values["lost.search"], values["lost.match"])
        template = TemplateSettings(values["template.share"]) if values["template.update"] else None
        # One assignment: the worker thread takes all from the same moment.
        self._settings = states, recovery, template, values["init.correction"], BudgetSettings.of(values)
        self._ring.set_limits(values["catch_up.seconds"], values["catch_up.mebibytes"])

    # ---- executor thread

    def _on_image(self, message: Image | CompressedImage) -> None:
        stamp = stamp_ns(message.header)
        self._budget.image_arrived(stamp * 1e-9)
        if self._enabled:
            self._intake.receive(message, stamp)

    def _on_init(self, message: Detection2D) -> None:
        self._follower.request(Init(box_of(message), stamp_ns(message.header), message.id, time.monotonic()))
        self._mailbox.wake()

    def _on_time_jump(self, seconds: float) -> None:
        self._follower.forget_target()
        self._budget.forget_camera()
        self._faults.report(
            TIME_JUMP,
            f"time went back by {seconds:.1f} s (does a bag loop?): the target and the frames "
            "kept for init are forgotten; send init again",
        )

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        target_id = self._follower.stop()
        response.success = True
        response.message = f"stopped following {target_id}" if target_id else "there was no target"
        self.get_logger().info(response.message)
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        self._mailbox.clear()
        self._intake.last_received_s = time.monotonic()  # silence counts from here, not from before the pause
        response.success = True
        response.message = "images are followed" if request.data else "images are ignored, the target is remembered"
        self.get_logger().info(response.message)
        return response

    def _report_health(self) -> None:
        health, intake = self._health, self._intake
        health.rate_hz = (intake.received - health.received) / REPORT_PERIOD_S
        health.received, health.late = intake.received, intake.late
        health.engine, health.engine_failures = self._tracker.engine_name, self._tracker.engine_failures
        health.enabled = self._enabled
        health.silent_s = time.monotonic() - intake.last_received_s if self._enabled else 0.0
        health.publishers, health.refused = self._images.publishers(), self._images.refused
        health.incompatibility = self._images.incompatibility() if self._enabled else ""
        if health.incompatibility:
            self._faults.report(INCOMPATIBLE_QOS, health.incompatibility)
        elif health.is_silent:
            self._faults.report(NO_IMAGE, health.silence(SILENCE_LIMIT_S))
        health.faults = self._faults.counts
        health.new_faults = health.faults - self._faults_reported
        self._faults_reported = health.faults
        view = self._budget.view()
        health.budget, health.budget_sentence = budget_words.figures(view), budget_words.sentence(view)
        message = diagnostics.report(self.get_fully_qualified_name(), health)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    # ---- worker thread

    def _prepare(self, tracker: DyTracker) -> None:
        tracker.state_thresholds, tracker.recovery, tracker.template_updates, tracker.init_correction, settings = (
            self._settings
        )
        self._budget.prepare(tracker, settings)

    def _work(self, frame: Frame | None) -> None:
        outcome = self._follower.step(frame)
        if outcome and outcome.result:
            self._budget.observe(outcome.result.seconds, time.monotonic() - outcome.started_s)
        if outcome and self._live["overlay.enabled"]:
            annotation = Annotation.of(outcome, self._tracker.exit_count, self._budget.terms.budget_s)
            self._drawing.show(outcome.frame.message.header, outcome.image, annotation)

    def _publish(self, outcome: Outcome, frames_dropped: int) -> None:
        hidden = outcome.state == TrackState.LOST and self._live["lost.hide"]
        if outcome.box is not None and not hidden:
            header = outcome.frame.message.header
            self._detection.publish(detection_message(header, outcome.box, outcome.score, outcome.target_id))
        # A lost target's last place is no error to correct. Asking takes 0.5 us, publishing to nobody 10.
        if outcome.state in (TrackState.TRACKING, TrackState.UNCERTAIN) and self._error.get_subscription_count():
            picture = outcome.image
            self._error.publish(error_message(outcome.frame.message.header, outcome.box, picture.width, picture.height))
        # Only now: latency and age count until the box is out.
        now_ns = self.get_clock().now().nanoseconds
        status = status_message(outcome, self._tracker.exit_count, self._budget, frames_dropped, now_ns)
        self._status.publish(status)
        health = self._health
        health.outcome, health.dropped = outcome, frames_dropped
        health.latency_ms, health.image_age_ms = status.latency_ms, status.image_age_ms

    def _on_worker_error(self, error: Exception) -> None:
        self._follower.stop()
        self._health.outcome = None  # there is none of this frame, and the last one's target is no longer followed
        self._faults.report(TRACKING_FAILED, f"{one_line(error)}; the target is given up, send init again")

    # ---- drawing thread

    def _on_drawing_error(self, error: Exception) -> None:
        self._faults.report(DRAWING_FAILED, f"{one_line(error)}; nothing is shown of that frame, tracking goes on")


def main(args: list[str] | None = None) -> NoReturn:
    """Entry point of `ros2 run dytrack_ros tracker_node`; ends the process."""
    leave(run(TrackerNode, args))


if __name__ == "__main__":
    main()
