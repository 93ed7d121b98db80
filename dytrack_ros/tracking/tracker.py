"""The tracker: an image and a box in, boxes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dytrack_ros.engines import Engine, FallbackEngine, create_engine
from dytrack_ros.model.weight_files import default_model, resolve_weights
from dytrack_ros.policies.calibration import Calibration, calibration_of
from dytrack_ros.policies.exit_policy import ExitCosts, ExitPolicy, ExitTrace, FixedThresholds, default_thresholds
from dytrack_ros.policies.latency_model import measure_exit_costs
from dytrack_ros.tracking.box import AnyBox, Box, check_init_box, clip_box, touches_border, visible_part
from dytrack_ros.tracking.box_correction import InitCorrection, Resolution, with_damped_size
from dytrack_ros.tracking.crop import CropWindow, cut_template
from dytrack_ros.tracking.image import ImageView, Pixels, as_image_view
from dytrack_ros.tracking.motion_prior import motion_prior
from dytrack_ros.tracking.recovery import Recovery, RecoverySettings, warm_up
from dytrack_ros.tracking.state import StateThresholds, TargetState, TrackState

NO_CALIBRATION = "no calibration: default thresholds"
BENCHMARK_IMAGE_SIZE = (480, 640)


@dataclass(frozen=True)
class TrackerConfig:
    """Settings of a :class:`DyTracker`, apart from engine and policy.

    Attributes:
        states: when the target counts as TRACKING, UNCERTAIN or LOST.
        recovery: what to do about an uncertain or lost target; None: nothing, as in the paper.
        init_correction: the share in [0, 1] of the difference between the init box and the network's box on the same
            frame that is corrected in later frames. 0, as in the paper, also saves running the network on the init
            frame, which takes as long as a frame at full depth. Raised from 0, it counts from the next target on.
            The default was chosen on the development sequences.
        motion_prior: weight of :func:`dytrack_ros.tracking.motion_prior.motion_prior`; 0: none, as in the paper. It
            does not act while a lost target is searched.
        size_damping: how much a low score holds back changes of the box's size, in [0, 1]
            (:func:`~dytrack_ros.tracking.box_correction.with_damped_size`). 0: not at all, as in the paper.
        entering_growth: the growth of the box's area after which a target that was cut off by the image's border at
            init, and is wholly inside now, gets a new template, once. inf: never, as in the paper.

    Raises ValueError for a share or damping out of range, a negative weight, or a growth under 1.
    """

    states: StateThresholds = field(default_factory=StateThresholds)
    recovery: RecoverySettings | None = None
    init_correction: float = 0.5
    motion_prior: float = 1.0
    size_damping: float = 1.0
    entering_growth: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.init_correction <= 1:
            raise ValueError(f"init_correction is {self.init_correction}; it must lie in [0, 1]")
        if not self.motion_prior >= 0:
            raise ValueError(f"motion_prior is {self.motion_prior}; it must be 0 or more")
        if not 0 <= self.size_damping <= 1:
            raise ValueError(f"size_damping is {self.size_damping}; it must lie in [0, 1]")
        if not self.entering_growth >= 1:
            raise ValueError(f"entering_growth is {self.entering_growth}; it must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class TrackResult(ExitTrace):
    """The result of one frame; the attributes of :class:`ExitTrace` and these.

    Attributes:
        box: (x, y, w, h) in pixels of the image. While a lost target is searched (``TrackerConfig.recovery``), it is
            the last box before the loss.
        score: the predicted IoU in [0, 1] of ``box``; 0 while a lost target is searched.
        state: the target's state after this frame.
        search_region: the square that the network saw, (x, y, w, h) in pixels; it may reach beyond the image. It does
            not take part in comparisons.
    """

    box: Box
    score: float
    state: TrackState
    search_region: Box | None = field(default=None, compare=False)


class DyTracker:
    """Follows one object. Not thread-safe, except for :meth:`set_config`.

    ``box`` is the target's last box (None: no target). It may be assigned to move the next search region, as
    evaluation does.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        policy: ExitPolicy | None = None,
        config: TrackerConfig | None = None,
        model_name: str = "",
        calibration: Calibration | None = None,
        calibration_note: str = NO_CALIBRATION,
    ):
        """As :meth:`from_pretrained`, around a loaded engine. ``calibration_note`` says which calibration is used."""
        self.engine = engine
        self.calibration, self.calibration_note = calibration, calibration_note
        self.model_name = model_name
        self.box: Box | None = None
        self._config = config or TrackerConfig()
        self._state = TargetState()
        self._recovery: Recovery | None = None
        self._init_correction: InitCorrection | None = None
        self._cut_area: float | None = None  # visible area, px, of an init box that reached the image's border
        self._exit_costs: dict[str, ExitCosts] = {}  # by engine_name
        warm_up()
        asked = calibration.thresholds if calibration else ()
        self.set_policy(policy or FixedThresholds(asked or default_thresholds(engine.exit_count)))

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        engine: str = "auto",
        policy: ExitPolicy | None = None,
        config: TrackerConfig | None = None,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "auto",
        on_fallback: Callable[[str], None] | None = None,
    ) -> DyTracker:
        """Return a warmed-up tracker with the weights of a shipped name or a path (None: the package's default).

        Args:
            engine: one of ``dytrack_ros.engines.ENGINES``.
            policy: None: :class:`FixedThresholds` with the thresholds of the weights' calibration, else with
                :func:`default_thresholds`.
            device: ``auto``, ``cpu`` or ``cuda[:N]``.
            threads: CPU threads; None: the engine's default.
            precision: ``auto``, ``fp32`` or ``int8``; see :func:`dytrack_ros.engines.create_engine`.
            on_fallback: if given, another engine goes on with the target where one fails. It is called with a
                sentence before that engine is loaded, and may raise to prevent it: the exception leaves the
                tracker's method. None: a failure is an error.

        Raises FileNotFoundError, ValueError or ImportError with a sentence on what there is.
        """
        weights = resolve_weights(model or default_model())
        if on_fallback is None:
            chosen = create_engine(engine, weights, device, threads, precision)
        else:
            chosen = FallbackEngine(engine, weights, device, threads, on_fallback, precision)
        calibration, note = calibration_of(weights)
        return cls(
            chosen,
            policy=policy,
            config=config,
            model_name=weights.stem,
            calibration=calibration,
            calibration_note=note,
        )

    @property
    def config(self) -> TrackerConfig:
        return self._config

    def set_config(self, config: TrackerConfig) -> None:
        """Use ``config`` from the next frame on. May be called from any thread."""
        self._config = config

    @property
    def policy(self) -> ExitPolicy:
        return self._policy

    def set_policy(self, policy: ExitPolicy) -> None:
        """Use ``policy`` from the next frame on.

        A policy that :attr:`~ExitPolicy.needs_costs` is given them; the first time they are measured for about a
        second.
        """
        self._policy = policy
        self._tell_engine()
        policy.on_new_target()

    def _tell_engine(self) -> None:
        if self._policy.needs_costs:
            self._policy.on_engine(self.exit_costs(), self.calibration)
        self._policy_engine = self.engine_name

    def exit_costs(self) -> ExitCosts:
        """Return the exit costs on this machine with the present engine. The first call measures for about a second.

        The target is kept.
        """
        while (name := self.engine_name) not in self._exit_costs:
            costs = self._measure_exit_costs()
            if name == self.engine_name:  # otherwise another engine has taken over during the measurement
                self._exit_costs[name] = costs
        return self._exit_costs[name]

    def _measure_exit_costs(self) -> ExitCosts:
        engine, random = self.engine, np.random.default_rng(0)
        if self.box is None:
            size = engine.template_size
            engine.set_template(random.integers(0, 256, (size, size, 3), np.uint8))
        image = random.integers(0, 256, (*BENCHMARK_IMAGE_SIZE, 3), np.uint8)
        window = CropWindow(0, 0, min(BENCHMARK_IMAGE_SIZE))

        def begin() -> None:
            engine.begin(window.cut(image, engine.search_size))

        return measure_exit_costs(begin, engine.advance, engine.locate, engine.exit_count)

    @property
    def exit_count(self) -> int:
        return self.engine.exit_count

    @property
    def engine_name(self) -> str:
        return self.engine.label

    @property
    def engine_failures(self) -> tuple[str, ...]:
        """Why earlier engines were given up, one sentence each; empty while the first one runs."""
        return self.engine.failures

    def initialize(self, image_bgr: Pixels | ImageView, box: AnyBox) -> None:
        """Start following the object in ``box`` (x, y, w, h), pixels, of a BGR image (H, W, 3) uint8 or an ImageView.

        The box may reach beyond the image. Raises ValueError for any other fault of image or box; the previous target
        is kept then.
        """
        image = as_image_view(image_bgr)
        start_box = check_init_box(box, image.width, image.height)
        self.engine.set_template(cut_template(image, start_box, self.engine))
        self._init_correction = self._compare(image, start_box) if self._config.init_correction else None
        visible = visible_part(start_box, image.width, image.height)
        reaches_border = touches_border(visible, image.width, image.height)
        self._cut_area = visible[2] * visible[3] if reaches_border else None
        self.box = start_box
        self._state.start()
        self._recovery = Recovery(image, start_box)
        self._resolution = Resolution(image.width, image.height)
        self._policy.on_new_target()

    def track(self, image_bgr: Pixels | ImageView) -> TrackResult:
        """Find the target in the next BGR image (H, W, 3) uint8 or ImageView, of which only the search region is read.

        The size may differ from that of the last image: see :class:`~dytrack_ros.tracking.box_correction.Resolution`.
        Raises RuntimeError before :meth:`initialize` and ValueError for an array that is no such image.
        """
        if self._policy_engine != self.engine_name:
            self._tell_engine()
        started = time.perf_counter()
        if self.box is None or self._recovery is None:
            raise RuntimeError("track() before initialize(): there is no target yet")
        config, policy, engine, recovery = self._config, self._policy, self.engine, self._recovery
        image = as_image_view(image_bgr)
        if boxes := self._resolution.change(image.width, image.height, (self.box, recovery.last_seen)):
            self.box, last_seen = boxes
            recovery.move(last_seen)
        if settings := self._search_settings(config):
            window = recovery.window(image.width, image.height, engine.search_factor, settings)
        else:
            window = CropWindow.around(self.box, engine.search_factor)
        engine.begin(window.cut(image, engine.search_size))

        # With `deepen` the policy is told score 0 of a doubtful target, so that it goes on if it can.
        deepens = config.recovery is not None and config.recovery.deepen and self._state.now != TrackState.TRACKING
        scores: list[float] = []
        stage_seconds: list[float] = []
        stage_started = started
        for exit_index in range(1, self.exit_count + 1):
            scores.append(engine.advance())
            now = time.perf_counter()
            stage_seconds.append(now - stage_started)
            stage_started = now
            if exit_index == self.exit_count:
                break
            if policy.should_exit(exit_index, 0.0 if deepens else scores[-1], now - started):
                break

        found = self._locate(window, 0 if settings else config.motion_prior)
        box = self._final_box(image, found, exit_index, config)
        if not settings:
            box = with_damped_size(box, self.box, scores[-1], config.size_damping)
            box = clip_box(box, image.width, image.height)
        self._update_state(image, box, scores[-1], config, recovery)
        is_searching = self._search_settings(config) is not None
        if not is_searching and scores[-1] >= config.states.lost:
            self._renew_cut_template(image, box, config)
        self.box = recovery.last_seen if is_searching else box
        result = TrackResult(
            exit_index=exit_index,
            exit_scores=tuple(scores),
            stage_seconds=tuple(stage_seconds),
            seconds=time.perf_counter() - started,
            box=self.box,
            score=0.0 if is_searching else scores[-1],
            state=self._state.now,
            search_region=window.box,
        )
        policy.observe(result)
        return result

    def predict_all_exits(self, image_bgr: Pixels | ImageView) -> tuple[list[float], list[Box]]:
        """Return every exit's predicted IoU and box on an image of the same size as the last one.

        The search region lies around the last box; the target's box and state stay. Sizes are those that the network
        found, without damping. Raises RuntimeError before :meth:`initialize`.
        """
        if self.box is None:
            raise RuntimeError("predict_all_exits() before initialize(): there is no target yet")
        image = as_image_view(image_bgr)
        scores, boxes = self._run_all_exits(image, self.box, self._config.motion_prior)
        return scores, [self._final_box(image, box, index, self._config) for index, box in enumerate(boxes, start=1)]

    def reset(self) -> None:
        """Forget the target."""
        self.box = self._recovery = self._init_correction = None
        self._state.stop()

    def _compare(self, image: ImageView, box: Box) -> InitCorrection:
        """Compare the visible parts of the init box and of the network's boxes on the init frame.

        If the engine fails there is no target: the template of the previous one is gone.
        """
        try:
            found = self._run_all_exits(image, box, prior_weight=0)[1]
        except Exception:
            self.reset()
            raise
        visible, *boxes = (visible_part(each, image.width, image.height) for each in (box, *found))
        return InitCorrection(visible, boxes)

    def _run_all_exits(self, image: ImageView, around: Box, prior_weight: float) -> tuple[list[float], list[Box]]:
        """Every exit's predicted IoU and uncorrected box in the search region around a box."""
        window = CropWindow.around(around, self.engine.search_factor)
        self.engine.begin(window.cut(image, self.engine.search_size))
        scores, boxes = [], []
        for _ in range(self.exit_count):
            scores.append(self.engine.advance())
            boxes.append(self._locate(window, prior_weight))
        return scores, boxes

    def _locate(self, window: CropWindow, prior_weight: float) -> Box:
        """Run the box head of the exit reached; return its box in the image."""
        engine, prior = self.engine, None
        if prior_weight and self.box is not None:
            last = window.to_crop(self.box)
            prior = motion_prior(engine.search_grid, last, 1 / engine.search_factor, prior_weight)
        return window.to_image(engine.locate(prior))

    def _renew_cut_template(self, image: ImageView, box: Box, config: TrackerConfig) -> None:
        """Take a new template once a target that entered the image is inside: the first shows a part of it only."""
        if self._cut_area is None or box[2] * box[3] < config.entering_growth * self._cut_area:
            return
        if not touches_border(box, image.width, image.height):
            self.engine.set_template(cut_template(image, box, self.engine))
            self._init_correction = self._cut_area = None

    def _search_settings(self, config: TrackerConfig) -> RecoverySettings | None:
        """The settings of the search while a lost target is searched, otherwise None."""
        return config.recovery if self._state.now == TrackState.LOST else None

    def _final_box(self, image: ImageView, found: Box, exit_index: int, config: TrackerConfig) -> Box:
        """Apply the init correction and clip the box to the image."""
        if self._init_correction is not None and config.init_correction:
            found = self._init_correction.corrected(found, exit_index, config.init_correction)
        return clip_box(found, image.width, image.height)

    def _update_state(
        self, image: ImageView, box: Box, score: float, config: TrackerConfig, recovery: Recovery
    ) -> None:
        """Advance the target's state, and what recovery remembers of the target, by one frame."""
        state, is_sure = self._state, score >= config.states.sure
        if state.now != TrackState.LOST:
            if state.observe(score, config.states) == TrackState.TRACKING and is_sure:
                recovery.remember(image, box)
        elif is_sure if config.recovery is None else recovery.is_found(image, box, is_sure, config.recovery):
            state.found()
