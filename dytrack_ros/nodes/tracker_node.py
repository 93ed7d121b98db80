"""The tracker node: follows one target in the images of a camera.

Three threads: the executor thread receives messages and answers services, the tracking thread decodes, tracks and
publishes results, the drawing thread publishes `overlay` and `markers`.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import Any, NoReturn

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D

from dytrack_ros.msg import InitReply, TrackStatus
from dytrack_ros.nodes import diagnostics, images
from dytrack_ros.nodes.budget import BudgetSettings, NodeBudget
from dytrack_ros.nodes.faults import (
    DRAWING_FAILED,
    ENGINE_FAILED,
    INCOMPATIBLE_QOS,
    INIT_REFUSED,
    NO_IMAGE,
    TIME_JUMP,
    TRACKING_FAILED,
    UNREADABLE_IMAGE,
    Faults,
)
from dytrack_ros.nodes.follower import Follower, Init, InitAnswer, Outcome
from dytrack_ros.nodes.frame_buffers import Frame, FrameRing, Mailbox, Worker
from dytrack_ros.nodes.intake import ImageSubscription, Intake
from dytrack_ros.nodes.messages import (
    INIT_QOS,
    RESULT_QOS,
    box_of,
    detection_message,
    init_reply_message,
    stamp_ns,
    status_message,
    target_offset_message,
)
from dytrack_ros.nodes.overlay import Annotation, OverlayPublisher
from dytrack_ros.nodes.parameter_schema import LiveParameters
from dytrack_ros.nodes.parameters import AUTO, TRACKER
from dytrack_ros.nodes.run import RunnableNode, is_stopped, leave, run
from dytrack_ros.policies.model_choice import ModelChoice
from dytrack_ros.tracking import DyTracker, RecoverySettings, StateThresholds, TrackerConfig, TrackState
from dytrack_ros.tracking.automatic_model import choose_automatically, forget_if_busy
from dytrack_ros.utils import one_line

# First report of a camera without images; each further one comes after three times the silence.
SILENCE_LIMIT_S = 3.0
REPORT_PERIOD_S = 1.0
# Time that a thread gets to finish its frame at shutdown; a node must end within a second.
ENDING_PATIENCE_S = 0.3


class TrackerNode(RunnableNode):
    """Follows one target; run one node a target, each in its own namespace.

    The model is loaded and warmed up before the node subscribes to images, so that the first frame is as fast as all
    others.

    Raises:
        ValueError, FileNotFoundError: a parameter value was refused, or a model or engine is missing or does not fit.
    """

    def __init__(self, **node_options) -> None:
        super().__init__("tracker_node", **node_options)
        self._live = LiveParameters(self, TRACKER)
        self._faults = Faults(self.get_logger().warning, self.get_logger().error)
        self._faults_reported: Counter[str] = Counter()
        self._model = self._choose_model()
        self._tracker = self._load_tracker()
        calibration = self._tracker.calibration
        asked = calibration.thresholds if calibration else ()
        self._live.set_model_defaults({f"exit.tau_{k}": tau for k, tau in enumerate(asked, start=1)})
        self._budget = self._measure_exits()
        self._enabled = True

        compressed = self._live["image_transport"] == "compressed"
        self._open_image = images.open_compressed if compressed else images.open_image
        self._ring = FrameRing()
        self._mailbox: Mailbox[Frame] = Mailbox()
        self._follower = Follower(
            self._tracker,
            self._ring,
            self._open_image,
            self._publish,
            self._faults.report,
            self._reply,
            self._prepare,
        )
        self._intake = Intake(self._ring, self._mailbox, self._on_time_jump, self._faults.report)
        self._worker = Worker("tracking", self._mailbox, self._work, self._on_worker_error)
        self._apply_parameters()
        self._live.on_change(self._apply_parameters)

        self._detection = self.create_publisher(Detection2D, "detection", RESULT_QOS)
        self._target_offset = self.create_publisher(PointStamped, "target_offset", RESULT_QOS)
        self._status = self.create_publisher(TrackStatus, "status", RESULT_QOS)
        self._init_reply = self.create_publisher(InitReply, "init_reply", RESULT_QOS)
        self._overlay = OverlayPublisher(self, self._on_drawing_error)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_subscription(Detection2D, "init", self._on_init, INIT_QOS)
        self._images = ImageSubscription(self, compressed, self._on_image)
        self._health = diagnostics.Health(
            self._images.topic, self._tracker.model_name, self._model.reason, SILENCE_LIMIT_S
        )
        self._next_silence_s = SILENCE_LIMIT_S
        # On a steady clock, because simulated time may stand still.
        self.create_timer(REPORT_PERIOD_S, self._report_health, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._overlay.start()
        self._worker.start()
        self.get_logger().info(
            f"ready: waits for images on {self._images.topic} and a box on {self.resolve_topic_name('init')}"
        )

    def close(self) -> None:
        """End the threads."""
        self._worker.end(ENDING_PATIENCE_S)
        self._overlay.end(ENDING_PATIENCE_S)

    @property
    def _engine_options(self) -> dict[str, Any]:
        options = {name: self._live[name] for name in ("engine", "device", "precision")}
        return {**options, "threads": self._live["threads"] or None}

    def _choose_model(self) -> ModelChoice:
        name = self._live["model"]
        if name != AUTO:
            return ModelChoice(name, "asked for")
        self.get_logger().info("loading the costs of the shipped models; the first start measures them ...")
        limits = BudgetSettings.of(self._live).limits_at_start()
        choice = choose_automatically(*limits, **self._engine_options, on_failure=self._on_model_failure)
        self.get_logger().info(f"model {choice.name}: {choice.reason}")
        return choice

    def _on_model_failure(self, sentence: str) -> None:
        if is_stopped():  # as in _on_engine_failure
            raise RuntimeError(sentence)
        self.get_logger().warning(sentence)

    def _load_tracker(self) -> DyTracker:
        self.get_logger().info(f"loading {self._model.name} ...")
        started_s = time.monotonic()
        tracker = DyTracker.from_pretrained(
            self._model.name, **self._engine_options, on_fallback=self._on_engine_failure
        )
        self.get_logger().info(
            f"{tracker.model_name} with {tracker.exit_count} exits on {tracker.engine_name}, loaded and warmed up in "
            f"{time.monotonic() - started_s:.1f} s; reason for this engine: {tracker.engine.chosen_because}"
        )
        return tracker

    def _on_engine_failure(self, sentence: str) -> None:
        if is_stopped():  # a native module turns Ctrl-C into an error of its own: load no other engine
            raise RuntimeError(sentence)
        self._faults.report(ENGINE_FAILED, sentence)

    def _measure_exits(self) -> NodeBudget:
        self.get_logger().info("measuring the time of each exit on this machine ...")
        budget = NodeBudget(self._tracker)
        view = budget.view()
        self.get_logger().info(f"the exits take {view.exit_costs()} ms; {view.calibration_note}")
        if forget_if_busy(self._model, self._tracker.exit_costs()):
            self.get_logger().info("the shipped models were measured on a busy machine: the next start repeats that")
        return budget

    def _apply_parameters(self) -> None:
        values = self._live
        uncertain = max(values["lost.uncertain_score"], values["lost.score"])
        states = StateThresholds(uncertain, values["lost.score"], values["lost.hysteresis"], values["lost.frames"])
        recovery = RecoverySettings(values["lost.deepen"], values["lost.search"], values["lost.match"])
        config = TrackerConfig(
            states,
            recovery,
            init_correction=values["init.correction"],
            entering_growth=values["init.entering_growth"],
            motion_prior=values["motion.prior"],
            size_damping=values["motion.size_damping"],
        )
        # One assignment, so that the tracking thread never sees a mixture of old and new settings.
        self._settings = config, BudgetSettings.of(values)
        low, high = values["image.range"]
        self._follower.set_fixed_range((low, high) if low < high else None)
        self._ring.set_limits(values["catch_up.seconds"], values["catch_up.mebibytes"])

    # ---- executor thread

    def _on_image(self, message: Image | CompressedImage) -> None:
        stamp = stamp_ns(message.header)
        with contextlib.suppress(images.UnreadableImageError):
            self._open_image(message)  # only the header is read
            self._budget.image_arrived(stamp * 1e-9)
        if self._enabled:
            self._intake.receive(message, stamp)

    def _on_init(self, message: Detection2D) -> None:
        init = Init(box_of(message), stamp_ns(message.header), message.id, time.monotonic(), message.header)
        if not self._enabled:
            reason = f"images are ignored; call {self.get_name()}/enable with data: true first"
            self._faults.report(INIT_REFUSED, reason)
            self._reply(InitAnswer(init, init.target_id, reason))
            return
        self._follower.request(init)
        self._mailbox.wake()

    def _on_time_jump(self, seconds: float) -> None:
        self._budget.forget_camera()
        if self.get_parameter("use_sim_time").value:
            self._follower.forget_target()
            consequence = " (does a bag loop?): the target and the frames kept for init are dropped; send init again"
        else:  # a live camera: its clock was set, or its driver has just started
            publishers = self._images.publishers()
            several = f"; {len(publishers)} publishers send images: {'; '.join(publishers)}" if publishers[1:] else ""
            consequence = f": the frames kept for init are dropped, the target is kept{several}"
        self._faults.report(TIME_JUMP, f"the stamps of {self._images.topic} went back by {seconds:.1f} s{consequence}")

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        target_id = self._follower.stop()
        response.success = True
        response.message = f"stopped following {target_id}" if target_id else "there was no target"
        self.get_logger().info(response.message)
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        self._mailbox.clear()
        self._intake.last_received_s = time.monotonic()  # silence does not include the pause
        response.success = True
        response.message = "images are tracked" if request.data else "images are ignored, the target is kept"
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
        health.wiring = self._images.wiring() if health.is_silent else ""
        if health.incompatibility:
            self._faults.report(INCOMPATIBLE_QOS, health.incompatibility)
        elif not health.is_silent:
            self._next_silence_s = SILENCE_LIMIT_S
        elif health.silent_s >= self._next_silence_s:
            self._next_silence_s = 3 * health.silent_s
            self._faults.report(NO_IMAGE, health.silence())
        health.faults = self._faults.counts
        health.new_faults = health.faults - self._faults_reported
        self._faults_reported = health.faults
        view = self._budget.view()
        health.budget, health.budget_sentence = view.figures(), view.sentence()
        message = diagnostics.report(self.get_fully_qualified_name(), health)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    # ---- tracking thread

    def _prepare(self, tracker: DyTracker) -> None:
        config, settings = self._settings
        tracker.set_config(config)
        self._budget.prepare(tracker, settings)

    def _work(self, frame: Frame | None) -> None:
        outcome = self._follower.step(frame)
        if outcome and outcome.result:
            self._budget.observe(outcome.result.seconds, time.monotonic() - outcome.started_s)
        if outcome and self._live["overlay.enabled"]:
            annotation = Annotation.of(outcome, self._tracker.exit_count, self._budget.terms.budget_s)
            self._overlay.submit(outcome.frame.message.header, outcome.image, annotation)

    def _publish(self, outcome: Outcome, frames_dropped: int) -> None:
        header = outcome.frame.message.header
        is_hidden = outcome.state == TrackState.LOST and self._live["lost.hide"]
        if outcome.box is not None and not is_hidden:
            self._detection.publish(detection_message(header, outcome.box, outcome.score, outcome.target_id))
        # Not published while LOST. Asking for subscribers (0.5 us) is cheaper than publishing to none (10 us).
        box = outcome.box if outcome.state != TrackState.LOST else None
        if box is not None and self._target_offset.get_subscription_count():
            image = outcome.image
            self._target_offset.publish(target_offset_message(header, box, image.width, image.height))
        # Last, because latency and age end when the box is published.
        now_ns = self.get_clock().now().nanoseconds
        status = status_message(outcome, self._tracker.exit_count, self._budget, frames_dropped, now_ns)
        self._status.publish(status)
        health = self._health
        health.outcome, health.dropped = outcome, frames_dropped
        health.latency_ms, health.image_age_ms = status.latency_ms, status.image_age_ms

    def _reply(self, answer: InitAnswer) -> None:
        """Publish the answer to an init; called in the executor thread too."""
        self._init_reply.publish(init_reply_message(answer))
        if answer.accepted:
            box = ", ".join(f"{value:.1f}" for value in answer.init.box)
            self.get_logger().info(
                f"following {answer.target_id}: box ({box}) on the image stamped {answer.stamp_ns * 1e-9:.3f} s"
            )

    def _on_worker_error(self, error: Exception) -> None:
        self._follower.stop()
        self._health.outcome = None  # the target of the last frame is not followed any more
        self._faults.report(TRACKING_FAILED, f"{one_line(error)}; the target is given up, send init again")

    # ---- drawing thread

    def _on_drawing_error(self, error: Exception) -> None:
        if isinstance(error, images.UnreadableImageError):
            self._faults.report(UNREADABLE_IMAGE, str(error))
        else:
            self._faults.report(DRAWING_FAILED, f"{one_line(error)}; this frame is not shown, tracking goes on")


def main(args: list[str] | None = None) -> NoReturn:
    """Entry point of `ros2 run dytrack_ros tracker_node`; ends the process."""
    if hasattr(cv2, "setLogLevel"):  # missing in some distributions' OpenCV
        cv2.setLogLevel(0)  # the node counts and reports unreadable images itself
    leave(run(TrackerNode, args))


if __name__ == "__main__":
    main()
