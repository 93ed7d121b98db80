"""`make demo`: runs a camera and a tracker as two processes, and records their results."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import Header, UInt32
from vision_msgs.msg import Detection2D

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes import images
from dytrack_ros.nodes.demo.camera_node import COUNT_QOS
from dytrack_ros.nodes.demo.camera_sources import CLIP_NAMES, SCENE_NAMES, Clip, find_clip, make_scene
from dytrack_ros.nodes.demo.follow import DEFAULT_RATE_HZ as FOLLOW_RATE_HZ
from dytrack_ros.nodes.demo.follow import FollowDemo
from dytrack_ros.nodes.demo.node_process import NodeProcess, prepare_environment
from dytrack_ros.nodes.demo.record import (
    FrameRecord,
    LiveTable,
    OverlayVideo,
    budget_figures,
    budget_sentence,
    failure,
    occlusion_sentence,
    sentence,
    summarize,
    write_contact_sheet,
)
from dytrack_ros.nodes.messages import box_of, stamp_ns
from dytrack_ros.nodes.run import RunnableNode, run
from dytrack_ros.tracking.box import Box

# At this rate two CPU cores have time for deeper exits than the first, beside the camera, DDS and this program.
DEFAULT_RATE_HZ = 5.0
# The scene that needs a robot instead of a clip.
FOLLOW = "follow"

WATCH_QOS = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=50)
WATCH_PERIOD_S = 0.2
LOADING_NOTE_S = 5.0
# After the camera has ended, results of the last frames are awaited at most this long.
LAST_WORDS_S = 3.0


class DemoNode(RunnableNode):
    """Runs the two processes until the clip is over, collecting a record of each frame.

    Attributes:
        finished: the run is over and its results are written.
        exit_code: 0 if at least 95 % of the frames reached the tracker and the target was held to the end.
    """

    def __init__(self, clip: Clip, options: argparse.Namespace) -> None:
        super().__init__("demo")
        self.finished = False
        self.exit_code = 1
        self._clip = clip
        self._options = options
        self._tracker: NodeProcess | None = None
        self._camera: NodeProcess | None = None
        self._rate_hz = options.rate or DEFAULT_RATE_HZ
        self._out = Path(options.out)
        self._out.mkdir(parents=True, exist_ok=True)
        self._records: dict[int, FrameRecord] = {}  # by stamp, in the order of publication
        self._unwritten: list[int] = []
        self._frames_published = 0
        self._last_news_s = time.monotonic()
        self._started_s = time.monotonic()
        self._about = {
            "clip": options.video or options.scene,
            "model": options.model,
            "engine": options.engine,
            "budget": {},
            "first_box_s": None,
        }
        self._video = OverlayVideo(self._out / "overlay.mp4", self._rate_hz)
        self._table = LiveTable()

        self._images: Subscription | None = None
        self.create_subscription(Detection2D, "truth", self._on_truth, WATCH_QOS)
        self.create_subscription(Detection2D, "detection", self._on_detection, WATCH_QOS)
        self.create_subscription(TrackStatus, "status", self._on_status, WATCH_QOS)
        self.create_subscription(UInt32, "frames_published", self._on_count, COUNT_QOS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.create_timer(WATCH_PERIOD_S, self._watch)

    def _start_processes(self) -> None:
        print(f"{self._clip.source} at {self._rate_hz:g} Hz; loading the tracker ...", flush=True)
        self._next_note_s = time.monotonic() + LOADING_NOTE_S
        self._tracker = NodeProcess(
            "tracker_node",
            {"model": self._options.model, "engine": self._options.engine},
            self._out / "tracker_node.log",
        )
        self._camera = NodeProcess(
            "camera_node",
            {
                "source": self._clip.source,
                "rate_hz": self._rate_hz,
                "frames": round(self._options.seconds * self._rate_hz),
                "publish_init": True,
                "init_box": list(map(float, self._clip.box or (0, 0, 0, 0))),
                "start_when_subscribed": 2,  # the tracker and this node
            },
            self._out / "camera_node.log",
        )

    def close(self) -> None:
        """Stop the processes; write the results of an interrupted run."""
        for process in (self._camera, self._tracker):
            if process is not None:
                process.stop()
        if not self.finished:
            self._finish("" if self._records else "interrupted before the first frame")

    # ---- messages

    def _record(self, header: Header) -> FrameRecord:
        stamp = stamp_ns(header)
        if stamp not in self._records:
            self._records[stamp] = FrameRecord(number=len(self._records) + 1)
            if len(self._records) == 1:
                self._table.start()
        return self._records[stamp]

    def _on_image(self, message: Image) -> None:
        self._last_news_s = time.monotonic()
        self._record(message.header).image = images.to_bgr(message)
        self._unwritten.append(stamp_ns(message.header))
        # A second later all results of a frame have come.
        self._write_all_but(max(3, round(self._rate_hz)))

    def _on_truth(self, message: Detection2D) -> None:
        record = self._record(message.header)
        record.hidden = not message.results
        record.truth = None if record.hidden else box_of(message)

    def _on_detection(self, message: Detection2D) -> None:
        self._record(message.header).box = box_of(message)
        if self._about["first_box_s"] is None:
            self._about["first_box_s"] = round(time.monotonic() - self._started_s, 1)

    def _on_status(self, message: TrackStatus) -> None:
        record = self._record(message.header)
        record.status = message
        self._last_news_s = time.monotonic()
        self._table.show(record, message)

    def _on_count(self, message: UInt32) -> None:
        self._frames_published = message.data

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        said = {pair.key: pair.value for status in message.status for pair in status.values}
        self._about |= {key: said[key] for key in ("model", "engine") if key in said}
        self._about["budget"] = budget_figures(said) or self._about["budget"]
        # The camera starts with its second subscriber. That is this node, after the tracker has found the camera: no
        # image is missed.
        if self._images is None and int(said.get("publishers", 0)):
            self._images = self.create_subscription(Image, "image", self._on_image, WATCH_QOS)

    # ---- the run

    def _watch(self) -> None:
        if self._tracker is None or self._camera is None:  # not in the constructor: close() needs a complete node
            self._start_processes()
            return
        for process in (self._tracker, self._camera):
            if process.exit_code is not None and (process is self._tracker or process.exit_code):
                last_line = (process.output.splitlines() or ["no output"])[-1]
                self._finish(f"{process.name} ended: {last_line}")
                return
        if not self._records and time.monotonic() > self._next_note_s:
            self._next_note_s += LOADING_NOTE_S
            print("still loading the tracker ...", flush=True)
        if self._camera.exit_code == 0:
            newest = next(reversed(self._records.values()), None)
            everything_said = newest and newest.status is not None and len(self._records) == self._frames_published
            if everything_said or time.monotonic() - self._last_news_s > LAST_WORDS_S:
                self._finish()

    def _finish(self, reason: str = "") -> None:
        self.finished = True
        self._table.stop()
        self._write_all_but(0)
        self._video.close()
        if not reason:
            records = [record for _, record in sorted(self._records.items())]
            summary = summarize(records, self._frames_published, self._rate_hz, **self._about)
            (self._out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
            if records:
                write_contact_sheet(self._out / "overlay.mp4", self._out / "contact_sheet.png", self._video.answered)
            written = f"written: {self._out}/overlay.mp4, contact_sheet.png, summary.json"
            said = (sentence(summary), occlusion_sentence(summary), budget_sentence(summary), written)
            print(*filter(None, said), sep="\n", flush=True)
            reason = failure(summary)
        if reason:
            print(f"demo failed: {reason}", file=sys.stderr)
        self.exit_code = 1 if reason else 0

    def _write_all_but(self, kept: int) -> None:
        while len(self._unwritten) > kept:
            record = self._records[self._unwritten.pop(0)]
            self._video.write(record)
            record.image = None


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run dytrack_ros demo`; returns the exit code."""
    options = _parse(args)
    prepare_environment()
    is_robot = options.scene == FOLLOW and not options.video
    # rclpy must not parse the demo's own arguments.
    return run(lambda: FollowDemo(options) if is_robot else DemoNode(_clip(options), options), args=[])


def _clip(options: argparse.Namespace) -> Clip:
    if options.video:
        return find_clip(options.video, options.box)
    print(f"making the scene {options.scene} ...", flush=True)
    return make_scene(options.scene, Path(options.out))


def _parse(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dytrack demo", description="Track a clip in a real ROS 2 graph and show how it went."
    )
    parser.add_argument(
        "--scene",
        choices=(*SCENE_NAMES, FOLLOW),
        default=SCENE_NAMES[0],
        help="clip: a face in a shaking car; occlusion: a target that passes behind a pillar; shake: a shaken camera; "
        "follow: a simulated robot that follows a target. All but the first know the truth (default: %(default)s)",
    )
    parser.add_argument(
        "--video",
        default="",
        metavar="WHAT",
        help=f"in place of a scene: {', '.join(CLIP_NAMES)} (these come along), synthetic, webcam, a video file or a "
        "folder of images",
    )
    parser.add_argument("--box", type=_box, metavar="x,y,w,h", help="the target on the first frame, pixels")
    parser.add_argument(
        "--rate",
        type=_positive,
        default=0,
        metavar="HZ",
        help=f"frames a second (default: {DEFAULT_RATE_HZ:g}, which two CPU cores hold; follow: {FOLLOW_RATE_HZ:g})",
    )
    parser.add_argument(
        "--seconds", type=_positive, default=0, help="length of the run (default: the whole clip; follow: 60 s)"
    )
    parser.add_argument("--model", default="auto", help="as tracker_node's parameter (default: %(default)s)")
    parser.add_argument("--engine", default="auto", help="as tracker_node's parameter (default: %(default)s)")
    parser.add_argument("--out", default="demo", metavar="DIR", help="folder of the results (default: %(default)s)")
    options = parser.parse_args(args)
    if options.box and not options.video:
        parser.error("--box x,y,w,h needs --video: the scenes know their target")
    return options


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text}")
    return value


def _box(text: str) -> Box:
    try:
        x, y, width, height = map(float, text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be four numbers x,y,w,h, not '{text}'") from error
    return x, y, width, height


if __name__ == "__main__":
    sys.exit(main())
