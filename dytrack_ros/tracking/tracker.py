"""The tracker: an image and a box in, boxes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dytrack_ros.engines import Engine, FallbackEngine, create_engine
from dytrack_ros.engines.registry import engine_label
from dytrack_ros.policies.calibration import Calibration, calibration_of
from dytrack_ros.policies.exit_costs import measure_exit_costs
from dytrack_ros.policies.exit_policy import ComparingPolicy, ExitPolicy, FixedThresholds, LearningPolicy, TargetPolicy
from dytrack_ros.policies.frame_budget import NO_CALIBRATION
from dytrack_ros.policies.latency_model import ExitCosts
from dytrack_ros.tracking.box import Box, check_init_box, clip_box, iou, visible_part
from dytrack_ros.tracking.crop import CropWindow, cut_template
from dytrack_ros.tracking.image import ImageView, as_image_view
from dytrack_ros.tracking.init_correction import InitCorrection
from dytrack_ros.tracking.recovery import Recovery, RecoverySettings
from dytrack_ros.tracking.resolution import Resolution
from dytrack_ros.tracking.state import StateThresholds, TargetState, TrackState
from dytrack_ros.tracking.template_memory import TemplateMemory, TemplateSettings

DEFAULT_THRESHOLDS = (0.74, 0.70)
"""Of dytrack_small by its calibration: exit 2, but for the surest and the least sure frames."""
INIT_CORRECTION = 0.5
"""Best on the development sequences: docs/evaluation.md."""


@dataclass(frozen=True)
class TrackResult:
    """One frame's answer.

    ``box`` (x, y, w, h) in pixels of the image; ``score`` the predicted IoU in [0, 1] of the exit taken,
    ``exit_index`` (1-based); ``exit_scores`` and ``stage_seconds`` of every exit reached; ``seconds`` the whole call.
    While a lost target is looked for (``DyTracker.recovery``), ``box`` is where it was last seen and ``score`` 0;
    ``exit_scores`` are then those of what was looked at instead. ``searched`` is the square that was looked at, x, y, w, h
    in pixels; it may reach beyond the image. ``agreements``: the IoU of the box of each exit before the one taken with the
    answer, where the policy asked for it and the target was not being looked for, else nothing. Runs read from a file have
    neither, so they count in no comparison.
    """

    box: Box
    score: float
    exit_index: int
    exit_scores: tuple[float, ...]
    stage_seconds: tuple[float, ...]
    seconds: float
    state: TrackState
    searched: Box | None = field(default=None, compare=False)
    agreements: tuple[float, ...] = field(default=(), compare=False)


class DyTracker:
    """Follows one object. Not thread-safe: one tracker belongs to one thread at a time.

    ``policy`` may be replaced between two frames. A :class:`~dytrack_ros.policies.LearningPolicy` that is not prepared
    yet is given the weights' ``calibration`` and this machine's exit costs, which are measured once, for about a second;
    once more where another engine has taken over.

    ``init_correction`` in [0, 1]: how much of the difference between what was marked and what the network finds there is
    corrected in later frames (:class:`~dytrack_ros.tracking.init_correction.InitCorrection`). 0 corrects nothing, and saves the
    look at the marked frame, which takes as long as a frame at full depth; raised from 0 it counts from the next target on.
    """

    def __init__(
        self,
        engine: Engine,
        policy: ExitPolicy | None = None,
        model_name: str = "",
        calibration: Calibration | None = None,
        calibration_note: str = NO_CALIBRATION,
    ):
        self.engine = engine
        self.calibration, self.calibration_note = calibration, calibration_note
        self.state_thresholds = StateThresholds()
        self.recovery: RecoverySettings | None = None
        self.template_updates: TemplateSettings | None = None
        self.init_correction = INIT_CORRECTION
        self.model_name = model_name
        self.box: Box | None = None
        self._state = TargetState()
        self._target: Recovery | None = None
        self._template: TemplateMemory | None = None
        self._extent: InitCorrection | None = None
        self._exit_costs: dict[str, ExitCosts] = {}  # by the engine's name and device
        self.policy = policy if policy is not None else FixedThresholds(default_thresholds(engine.exit_count))

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        engine: str = "auto",
        policy: ExitPolicy | None = None,
        device: str = "auto",
        threads: int | None = None,
        on_fallback: Callable[[str], None] | None = None,
        is_ending: Callable[[], bool] = lambda: False,
        precision: str = "auto",
    ) -> DyTracker:
        """A tracker with the weights of a shipped name or a path (None: the package's default), warmed up.

        ``engine`` is one of ``dytrack_ros.engines.ENGINES``, ``device`` ``auto``, ``cpu`` or ``cuda[:N]``. Without a
        ``policy``, :class:`~dytrack_ros.policies.FixedThresholds` with the default thresholds. With ``on_fallback`` the next
        engine goes on where one fails, and ``on_fallback`` is told why, unless the process ``is_ending``; without, the
        failure is an error. ``precision`` is ``auto``, ``fp32`` or ``int8``: see :func:`dytrack_ros.engines.create_engine`.
        Raises FileNotFoundError or ValueError saying what there is.
        """
        from dytrack_ros.model.weight_files import default_model, resolve_weights

        weights = resolve_weights(model or default_model())
        if on_fallback is None:
            chosen = create_engine(engine, weights, device, threads, precision)
        else:
            chosen = FallbackEngine(engine, weights, device, threads, on_fallback, is_ending, precision)
        return cls(chosen, policy, weights.stem, *calibration_of(weights))

    @property
    def policy(self) -> ExitPolicy:
        return self._policy

    @policy.setter
    def policy(self, policy: ExitPolicy) -> None:
        if isinstance(policy, LearningPolicy) and not policy.is_prepared:
            policy.prepare(self.exit_costs(), self.calibration, self.calibration_note)
        self._policy, self._policy_engine = policy, self.engine_name
        self._comparing = policy if isinstance(policy, ComparingPolicy) else None

    def exit_costs(self) -> ExitCosts:
        """What every exit costs on this machine with the present engine; measured on the first call, for about a second.

        To the engine it is a frame like any other; a target that is being followed stays.
        """
        while (engine := self.engine_name) not in self._exit_costs:
            costs = measure_exit_costs(self.engine, has_target=self.box is not None)
            if engine == self.engine_name:  # otherwise another one has taken over meanwhile
                self._exit_costs[engine] = costs
        return self._exit_costs[engine]

    @property
    def exit_count(self) -> int:
        return self.engine.exit_count

    @property
    def engine_name(self) -> str:
        return engine_label(self.engine)

    @property
    def engine_failures(self) -> tuple[str, ...]:
        """Why the present engine is not the first one; empty where it is."""
        return getattr(self.engine, "failures", ())

    def initialize(self, image_bgr: np.ndarray | ImageView, box) -> None:
        """Takes the object in ``box`` (x, y, w, h), pixels, of a BGR image (H, W, 3) uint8 or a picture as the target.

        A box partly outside the image is accepted. Raises ValueError otherwise; the previous target is kept then.
        """
        picture = as_image_view(image_bgr)
        box = check_init_box(box, picture.width, picture.height)
        template = cut_template(picture, box, self.engine)
        self.engine.set_template(template)
        self._template = TemplateMemory(template)
        self._extent = self._init_correction(picture, box) if self.init_correction else None
        self.box = box
        self._state.start()
        self._target = Recovery(picture, box)
        self._resolution = Resolution(picture.width, picture.height)
        if isinstance(self.policy, TargetPolicy):
            self.policy.restart()

    def track(self, image_bgr: np.ndarray | ImageView) -> TrackResult:
        """Finds the target in the next BGR image (H, W, 3) uint8 or picture, of which it reads only what it searches.

        The image may be of another size than the one before: see :class:`~dytrack_ros.tracking.resolution.Resolution`.
        Raises RuntimeError before :meth:`initialize` and ValueError for an array that is no such image.
        """
        if self._policy_engine != self.engine_name:
            self._relearn_costs()
        started = time.perf_counter()
        if self.box is None:
            raise RuntimeError("track() before initialize(): there is no target yet")
        picture = as_image_view(image_bgr)
        if boxes := self._resolution.change(picture.width, picture.height, (self.box, self._target.last_seen)):
            self.box, last_seen = boxes
            self._target.move(last_seen)
        window = self._search_window(picture.width, picture.height)
        self.engine.begin(window.cut(picture, self.engine.search_size))

        compares = self._comparing is not None and self._comparing.compares_exits and not self._is_searching()
        passed: list[Box] = []
        scores: list[float] = []
        stage_seconds: list[float] = []
        stage_started = started
        for exit_index in range(1, self.exit_count + 1):
            if compares and exit_index > 1:
                passed.append(self._settled_box(picture, window.to_image(self.engine.locate()), exit_index - 1))
                stage_started = time.perf_counter()
            scores.append(self.engine.advance())
            now = time.perf_counter()
            stage_seconds.append(now - stage_started)
            stage_started = now
            if exit_index == self.exit_count or self._may_exit(exit_index, scores[-1], now - started):
                break

        box = self._settled_box(picture, window.to_image(self.engine.locate()), exit_index)
        agreements = tuple(float(iou(other, box)) for other in passed)
        score = self._settle(picture, box, scores[-1])
        if self.template_updates is not None:
            self._update_template(picture, score, exit_index)
        result = TrackResult(
            box=self.box,
            score=score,
            exit_index=exit_index,
            exit_scores=tuple(scores),
            stage_seconds=tuple(stage_seconds),
            seconds=time.perf_counter() - started,
            state=self._state.now,
            searched=window.box,
            agreements=agreements,
        )
        self.policy.observe(result)
        return result

    def answers_of_all_exits(self, image_bgr: np.ndarray | ImageView) -> tuple[list[float], list[Box]]:
        """What each exit answers on an image of the size of the one before, looking where the target was: predicted IoUs
        and boxes. The target stays where it was. Raises RuntimeError before :meth:`initialize`."""
        if self.box is None:
            raise RuntimeError("answers_of_all_exits() before initialize(): there is no target yet")
        picture = as_image_view(image_bgr)
        scores, boxes = self._look(picture, self.box)
        return scores, [self._settled_box(picture, box, number) for number, box in enumerate(boxes, start=1)]

    def _init_correction(self, picture: ImageView, box: Box) -> InitCorrection:
        """Of a target across the border only the part that can be seen is compared. An engine that fails leaves no
        target: neither the new one nor the one before, whose template is gone."""
        try:
            found = self._look(picture, box)[1]
        except Exception:
            self.reset()
            raise
        visible, *found = (visible_part(each, picture.width, picture.height) for each in (box, *found))
        return InitCorrection(visible, found)

    def _look(self, picture: ImageView, around: Box) -> tuple[list[float], list[Box]]:
        """Every exit's predicted IoU and box, as it is found, in the search region ``around`` a box."""
        window = CropWindow.around(around, self.engine.search_factor)
        self.engine.begin(window.cut(picture, self.engine.search_size))
        scores, boxes = [], []
        for _ in range(self.exit_count):
            scores.append(self.engine.advance())
            boxes.append(window.to_image(self.engine.locate()))
        return scores, boxes

    def _settled_box(self, picture: ImageView, found: Box, exit_index: int) -> Box:
        """What an exit has found, as far as it was marked, within the image."""
        if self._extent is not None and self.init_correction:
            found = self._extent.corrected(found, exit_index, self.init_correction)
        return clip_box(found, picture.width, picture.height)

    def _is_searching(self) -> bool:
        return self._state.now == TrackState.LOST and self.recovery is not None

    def _search_window(self, width: int, height: int) -> CropWindow:
        if self._is_searching():
            return self._target.window(width, height, self.engine.search_factor, self.recovery)
        return CropWindow.around(self.box, self.engine.search_factor)

    def _may_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        if self.recovery is not None and self.recovery.deepen and self._state.now != TrackState.TRACKING:
            score = 0.0
        return self.policy.should_exit(exit_index, score, elapsed_s)

    def _settle(self, picture: ImageView, box: Box, score: float) -> float:
        """Takes over what a frame has shown into the state and the target's box; returns that box's score."""
        thresholds, state = self.state_thresholds, self._state
        is_sure = score >= thresholds.sure
        if self._is_searching():
            if self._target.is_found(picture, box, is_sure, self.recovery):
                state.found()
        elif state.now == TrackState.LOST:
            if is_sure:
                state.found()
        elif state.observe(score, thresholds) == TrackState.TRACKING and is_sure:
            self._target.remember(picture, box)
        self.box = self._target.last_seen if self._is_searching() else box
        return 0.0 if self._is_searching() else score

    def _update_template(self, picture: ImageView, score: float, exit_index: int) -> None:
        template = None
        if self._state.now != TrackState.TRACKING:
            template = self._template.forget()
        elif exit_index == self.exit_count:
            template = self._template.updated(picture, self.box, self.engine, score, self.template_updates)
        if template is not None:
            self.engine.set_template(template)

    def _relearn_costs(self) -> None:
        """Another engine computes than when the policy was set: its exits cost other times. Not counted as a frame's."""
        if isinstance(self.policy, LearningPolicy):
            self.policy.forget_costs()
        self.policy = self.policy

    def reset(self) -> None:
        """Forgets the target."""
        self.box = self._target = self._template = self._extent = None
        self._state.stop()


def default_thresholds(exit_count: int) -> tuple[float, ...]:
    """The thresholds used when none are given: the last of the defaults is repeated for further exits."""
    values = [DEFAULT_THRESHOLDS[min(i, len(DEFAULT_THRESHOLDS) - 1)] for i in range(exit_count - 1)]
    return tuple(values)
