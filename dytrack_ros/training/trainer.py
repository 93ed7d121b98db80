"""The trainer: both stages, the three strategies, averaged weights, resumable, on any device."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dytrack_ros.model.dytrack import DyTrack
from dytrack_ros.model.weights import save_weights
from dytrack_ros.training.augmentation import PairAugmentation
from dytrack_ros.training.distillation import MODES, SelfDistillation, Teacher
from dytrack_ros.training.distributed import Ranks
from dytrack_ros.training.losses import LossWeights, TrainingLoss
from dytrack_ros.training.options import check_options, option
from dytrack_ros.training.sampling import PairSampler, PairStream

STRATEGIES = ("joint", "frozen_backbone", "one_by_one")
SCHEDULES = ("step", "cosine", "constant")
STATE_FILE, CURVES_FILE = "last.pt", "curves.csv"
AVERAGED_FILE, RAW_FILE = "averaged.safetensors", "raw.safetensors"
RESUMABLE_CHANGES = ("steps", "minutes", "save_minutes")
PAIRS_PER_EPOCH = 60_000
USUAL_SIZE = 0.05
"""Root mean square of most matrices of a transformer; DINOv2's first ones have 0.003 to 0.2."""
SMALLEST_RELATIVE_RATE = 0.01
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Defaults are the paper's where it gives them (Section IV-A).

    ``stage`` 1 trains the encoder and the last exit, 2 all exits. ``strategy`` (stage 2): ``joint``,
    ``frozen_backbone``, or ``one_by_one`` (each exit for an equal share of the run, everything else frozen). The run
    ends after ``steps`` or, if given, after ``minutes`` of training, whichever comes first; the learning rates follow
    the further progressed of the two. ``schedule``: ``step`` (x0.1 at 80 %), ``cosine`` (to 1 %) or ``constant``.
    ``relative_rates``: each array of encoder and adapters learns in proportion to the root mean square of its start, at
    most at the rates given. ``ema``: decay of the averaged weights, which are the result of the run; 0: the last
    weights are.

    Raises ValueError for a value out of range.
    """

    stage: int = option(2, "1: encoder and last exit, 2: all exits", choices=(1, 2))
    strategy: str = option("joint", "what stage 2 trains together", choices=STRATEGIES)
    distillation: str = option("target_aware", "self-distillation of stage 2", choices=MODES)
    steps: int = option(100_000, "length of the run", low=1)
    minutes: float | None = option(None, "end after this training time even if steps are left", low=0, type=float)
    batch: int = option(32, "pairs in a step, of all processes together", low=1)
    lr_backbone: float = option(1e-5, "learning rate of the encoder", low=0)
    lr: float = option(1e-4, "learning rate of all else", low=0)
    lr_adapters: float | None = option(None, "learning rate of the adapters (default: --lr)", low=0, type=float)
    relative_rates: bool = option(
        False, "encoder and adapters: rates in proportion to the size of each array's weights"
    )
    weight_decay: float = option(1e-4, "of AdamW", low=0)
    schedule: str = option("step", "step: x0.1 after 4/5 of the run; cosine: to 1/100", choices=SCHEDULES)
    warmup_steps: int = option(50, "steps of rising learning rates at the start", low=0)
    clip_norm: float = option(1.0, "largest norm of the gradient", low=0)
    freeze_blocks: int = option(0, "first encoder layers that stay as they are, with the patch embedding", low=0)
    corner_weight: float = option(0.0, "weight of the heat maps' own loss; paper: 0", low=0)
    ema: float = option(
        0.998, "decay of the averaged weights, which the run results in; 0: no averaging", low=0, high=1
    )
    seed: int = option(0, "of weights, pairs and augmentation")
    save_minutes: float = option(5.0, "time between two saved states", low=0)

    def __post_init__(self) -> None:
        check_options(self)


def amp_type(choice: str, device: str) -> torch.dtype | None:
    """The autocast type for ``auto``, ``bf16`` or ``off``;

    ``auto`` is bf16 where the device computes in it natively.
    """
    if choice != "auto":
        return {"off": None, "bf16": torch.bfloat16}[choice]
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        cpu = Path("/proc/cpuinfo")
        native = cpu.exists() and not BF16_FLAGS.isdisjoint(cpu.read_text().split())
    return torch.bfloat16 if native else None


class AveragedWeights:
    """Exponential moving average of a network's weights and statistics, in ``network``."""

    def __init__(self, model: DyTrack, decay: float):
        self.network, self.decay = copy.deepcopy(model).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, model: DyTrack, step: int) -> None:
        """Averages in the weights after ``step`` (1-based). Early steps count more: the start is soon forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = zip(self.network.state_dict().values(), model.state_dict().values(), strict=True)
        for average, latest in pairs:
            if average.is_floating_point():
                average.lerp_(latest, 1 - decay)
            else:
                average.copy_(latest)


def _relative_size(parameter: Tensor) -> float:
    """Size of an array of weights relative to the usual one, in (0, 1].

    AdamW moves every weight by about the learning rate, a large step for an array of small weights.
    """
    size = parameter.detach().square().mean().sqrt().item() / USUAL_SIZE
    return min(max(size, SMALLEST_RELATIVE_RATE), 1.0)


class Trainer:
    """Trains ``model`` in place.

    Writes into ``folder``: ``last.pt`` (to resume), ``curves.csv``, and at each save ``averaged.safetensors`` and
    ``raw.safetensors``. With several ``ranks`` each trains on its part of every batch, all hold the same weights, and
    rank 0 writes. Raises ValueError if the batch cannot be shared equally.
    """

    def __init__(
        self,
        model: DyTrack,
        sampler: PairSampler | PairStream,
        augmentation: PairAugmentation,
        config: TrainConfig,
        folder: str | Path,
        amp: torch.dtype | None = None,
        compile_model: bool = False,
        ranks: Ranks | None = None,
        teacher: Teacher | None = None,
    ):
        self.config, self.sampler, self.augmentation = config, sampler, augmentation
        self.ranks = ranks or Ranks()
        if config.batch % self.ranks.size:
            raise ValueError(
                f"batch {config.batch} must be a multiple of the {self.ranks.size} processes that share it"
            )
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.device = augmentation.bank.device
        self.model: DyTrack = model.to(self.device)
        shape = model.config
        distilled = config.distillation if config.stage == 2 else "off"
        self.distillation = SelfDistillation(distilled, shape.width, shape.search_tokens, model.exit_count)
        self.distillation.to(self.device)
        self.step, self.elapsed = 0, 0.0
        self.average = AveragedWeights(self.model, config.ema) if config.ema and self.ranks.leads else None
        self.optimizer = torch.optim.AdamW(
            self._parameter_groups(), weight_decay=config.weight_decay, fused=self.device.type == "cuda"
        )
        if compile_model:
            self.model.compile()
        changing = config.stage == 2 and config.strategy == "one_by_one"
        if not changing:
            self._set_trainable(self.progress)
        self.teacher = teacher and teacher.to(self.device)
        weights = LossWeights(corner=config.corner_weight)
        loss = TrainingLoss(self.model, self.distillation, self.exits, weights, amp, self.teacher)
        self.loss = self.ranks.wrap(loss, part_unused=changing)

    @property
    def result(self) -> DyTrack:
        """The network that the run results in: of the averaged weights, if there are any."""
        return self.average.network if self.average else self.model

    # --- what is trained ---------------------------------------------------------------------------------------------

    @property
    def exits(self) -> list[int]:
        """Positions of the exits that the stage trains."""
        count = self.model.exit_count
        return [count - 1] if self.config.stage == 1 else list(range(count))

    def _parameter_groups(self) -> list[dict[str, Any]]:
        model, config = self.model, self.config
        encoder = [*model.embedding.parameters(), *model.blocks.parameters()]
        adapters = [p for name, p in model.named_parameters() if ".adapter." in name]
        known = {id(p) for p in (*encoder, *adapters)}
        rest = [p for p in model.parameters() if id(p) not in known] + list(self.distillation.parameters())
        adapter_lr = config.lr if config.lr_adapters is None else config.lr_adapters
        rates = [(encoder, config.lr_backbone), (adapters, adapter_lr)]
        if config.relative_rates:
            rates = [([p], rate * _relative_size(p)) for parameters, rate in rates for p in parameters]
        return [{"params": parameters, "base_lr": rate, "lr": 0.0} for parameters, rate in [*rates, (rest, config.lr)]]

    def _set_trainable(self, progress: float) -> list[int]:
        """Freezes what stage and strategy freeze at this ``progress``; returns the exits whose loss counts."""
        config, model = self.config, self.model
        model.train()
        model.requires_grad_(True)
        exits = self.exits
        frozen: list[nn.Module] = [model.embedding.patch_embed] if config.freeze_blocks else []
        frozen += model.blocks[: config.freeze_blocks]
        frozen += self._all_exits_but(exits)
        if config.stage == 2 and config.strategy != "joint":
            frozen += [model.embedding, model.blocks]
        if config.stage == 2 and config.strategy == "one_by_one":
            exits = [min(int(progress * model.exit_count), model.exit_count - 1)]
            frozen += self._all_exits_but(exits)
        for module in frozen:
            module.requires_grad_(False)
            module.eval()
        return exits

    def _all_exits_but(self, exits: list[int]) -> list[nn.Module]:
        others = [position for position in range(self.model.exit_count) if position not in exits]
        return [part[position] for position in others for part in (self.model.decisioners, self.model.heads)]

    # --- the loop ----------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        by_steps = self.step / self.config.steps
        by_time = self.elapsed / 60 / self.config.minutes if self.config.minutes else 0.0
        return min(max(by_steps, by_time), 1.0)

    def _learning_rate_factor(self) -> float:
        warm = min((self.step + 1) / max(self.config.warmup_steps, 1), 1.0)
        if self.config.schedule == "constant":
            return warm
        if self.config.schedule == "step":
            return warm * (0.1 if self.progress >= 0.8 else 1.0)
        return warm * (0.01 + 0.99 * (1 + math.cos(math.pi * self.progress)) / 2)

    def run(self, log_every: int = 10) -> None:
        """Trains from the present step to the end of the run.

        Raises FloatingPointError if the loss diverges; the last saved state is kept.
        """
        started, saved_at = time.monotonic() - self.elapsed, time.monotonic()
        window: dict[str, list[Tensor]] = defaultdict(list)
        if self.ranks.leads:
            self._trim_curves()
        layout = "{percentage:3.0f}% |{bar}| {elapsed} < {remaining}{postfix}"
        with tqdm(
            total=1.0, initial=self.progress, bar_format=layout, mininterval=2, disable=not self.ranks.leads
        ) as bar:
            while self.progress < 1:
                figures = self._train_step()
                for name, value in figures.items():
                    window[name].append(value)
                self.elapsed = time.monotonic() - started
                if self.config.minutes:
                    self.elapsed = self.ranks.of_first(self.elapsed)  # all must end after the same step
                bar.update(self.progress - bar.n)
                if self.step % log_every == 0:
                    means = self._means(window)
                    if self.ranks.leads:
                        self._log(means)
                    shown = {name: f"{value:.3f}" for name, value in means.items() if name.startswith(("iou", "loss"))}
                    bar.set_postfix({"step": self.step, **shown})
                    window.clear()
                ending = self.progress >= 1
                if self.ranks.leads and (ending or time.monotonic() - saved_at > 60 * self.config.save_minutes):
                    if not torch.isfinite(figures["loss"]):
                        raise FloatingPointError(f"the loss diverged before step {self.step}: lower the learning rates")
                    self.save()
                    saved_at = time.monotonic()

    def _train_step(self) -> dict[str, Tensor]:
        exits = self._set_trainable(self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * self._learning_rate_factor()
        pairs = self.sampler.batch(self.step, self.config.batch, self.ranks.rank, self.ranks.size)
        loss, figures = self.loss(self.augmentation(pairs, self.step, self.ranks.rank), exits)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        nn.utils.clip_grad_norm_(trained, self.config.clip_norm)
        self.optimizer.step()
        self.step += 1
        if self.average:
            self.average.update(self.model, self.step)
        return figures

    def _means(self, window: dict[str, list[Tensor]]) -> dict[str, float]:
        """Mean of each figure over the steps and the processes."""
        means = self.ranks.mean(torch.stack([torch.stack(values).nanmean() for values in window.values()]))
        return dict(zip(window, means.tolist(), strict=True))

    def _log(self, means: dict[str, float]) -> None:
        row = {
            "step": self.step,
            "minutes": round(self.elapsed / 60, 3),
            "pairs": self.step * self.config.batch,
            "lr": self.optimizer.param_groups[-1]["lr"],
            **{name: round(value, 5) for name, value in means.items()},
        }
        with (self.folder / CURVES_FILE).open("a", newline="") as file:
            csv.DictWriter(file, self._curve_names).writerow(row)

    @property
    def _curve_names(self) -> list[str]:
        per_exit = [f"{name}_{position + 1}" for position in self.exits for name in ("iou", "score", "absent")]
        of_teacher = ["teacher_tokens", "teacher_heat"] if self.teacher else []
        return ["step", "minutes", "pairs", "lr", *per_exit, "imitation", *of_teacher, "loss"]

    def _trim_curves(self) -> None:
        """Drops the rows after the present step: those of steps after the saved state."""
        path = self.folder / CURVES_FILE
        with path.open("a+", newline="") as file:
            file.seek(0)
            rows = [row for row in csv.DictReader(file) if int(row["step"]) <= self.step]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._curve_names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    # --- resuming ----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes the state to resume from, atomically, and the raw and the averaged weights."""
        state = {
            "model": self.model.state_dict(),
            "distillation": self.distillation.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            "config": asdict(self.config),
            "shown": self._shown(),
        }
        if self.average:
            state["average"] = self.average.network.state_dict()
        partial = self.folder / (STATE_FILE + ".partial")
        torch.save(state, partial)
        partial.replace(self.folder / STATE_FILE)
        save_weights(self.folder / RAW_FILE, self.model)
        if self.average:
            save_weights(self.folder / AVERAGED_FILE, self.average.network)

    def _shown(self) -> dict[str, Any]:
        """Settings of the data, which must not change when a run is resumed."""
        sampler = self.sampler.sampler if isinstance(self.sampler, PairStream) else self.sampler
        settings = asdict(self.augmentation.config) | asdict(sampler.config)
        return {"background_mask": self.model.config.background_mask, **settings}

    def resume(self) -> bool:
        """Loads the last saved state; returns whether there is one.

        Raises ValueError if that run had other settings: only its length may change.
        """
        path = self.folder / STATE_FILE
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        now, then = asdict(self.config) | self._shown(), state["config"] | state["shown"]
        changed = sorted(name for name in now if now[name] != then.get(name) and name not in RESUMABLE_CHANGES)
        if changed:
            was = ", ".join(f"{name}={then.get(name)}" for name in changed)
            raise ValueError(f"{path} was made with {was}: resume with the same, or choose another --out")
        self.model.load_state_dict(state["model"])
        self.distillation.load_state_dict(state["distillation"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.elapsed = state["step"], state["elapsed"]
        if self.average:
            self.average.network.load_state_dict(state["average"])
        return True
