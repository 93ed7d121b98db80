"""The trainer: both stages, the three strategies, resumable, on whatever devices are at hand."""

from __future__ import annotations

import csv
import math
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dytrack_ros.model.dytrack import DyTrack
from dytrack_ros.training.augmentation import PairAugmentation
from dytrack_ros.training.distillation import SelfDistillation
from dytrack_ros.training.distributed import Ranks
from dytrack_ros.training.learner import Learner
from dytrack_ros.training.losses import LossWeights
from dytrack_ros.training.sampling import PairSampler
from dytrack_ros.training.streaming import PairStream
from dytrack_ros.training.teacher import Teacher

STRATEGIES = ("joint", "frozen_backbone", "one_by_one")
SCHEDULES = ("step", "cosine", "constant")
STATE_FILE = "last.pt"
CURVES_FILE = "curves.csv"
RESUMABLE_CHANGES = ("steps", "minutes", "save_minutes")
PAIRS_PER_EPOCH = 60_000
USUAL_SIZE = 0.05
"""Root mean square of a transformer's matrices, most of them; DINOv2's first ones have 0.003 to 0.2."""
SMALLEST_RELATIVE_RATE = 0.01


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Defaults are the paper's where it gives them (Section IV-A). ``batch`` is that of all processes.

    ``stage`` 1 trains the encoder and the last exit, 2 all exits. ``strategy`` (stage 2): ``joint``,
    ``frozen_backbone``, or ``one_by_one`` (each exit for an equal share of the run, all else frozen). The run ends
    after ``steps`` or, if given, ``minutes`` of training, whichever comes first; the learning rates follow the
    further progressed of the two. ``schedule``: ``step`` (x0.1 at 80 %), ``cosine`` or ``constant``. ``freeze_blocks``: that many
    first encoder layers and the patch embedding stay as they are. ``lr_adapters`` is ``lr`` unless given: adapters that
    start as encoder layers may want less. ``relative_rates``: each array of encoder and adapters learns in proportion to
    the root mean square of its start, at most at the rates given. ``corner_weight`` adds the heat maps' own loss (0 =
    the paper's losses alone).
    """

    stage: int = 2
    strategy: str = "joint"
    distillation: str = "target_aware"
    steps: int = 100_000
    minutes: float | None = None
    batch: int = 32
    lr_backbone: float = 1e-5
    lr: float = 1e-4
    lr_adapters: float | None = None
    relative_rates: bool = False
    weight_decay: float = 1e-4
    schedule: str = "step"
    warmup_steps: int = 50
    clip_norm: float = 1.0
    freeze_blocks: int = 0
    corner_weight: float = 0.0
    seed: int = 0
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        for name, allowed in (("stage", (1, 2)), ("strategy", STRATEGIES), ("schedule", SCHEDULES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} {getattr(self, name)!r} must be one of {', '.join(map(str, allowed))}")


def _relative_size(parameter: Tensor) -> float:
    """In (0, 1]: AdamW moves every weight by about the rate, which would be a large step for an array of small ones."""
    size = parameter.detach().square().mean().sqrt().item() / USUAL_SIZE
    return min(max(size, SMALLEST_RELATIVE_RATE), 1.0)


class Trainer:
    """Trains ``model`` in place; writes ``last.pt`` (to resume) and ``curves.csv`` into ``folder``.

    With several ``ranks`` each trains on its part of every batch, and all hold the same weights; rank 0 writes. Raises
    ValueError if the batch cannot be shared equally.
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
        self.model = self.ranks.with_common_norms(model.to(self.device))
        shape = model.config
        distilled = config.distillation if config.stage == 2 else "off"
        self.distillation = SelfDistillation(distilled, shape.width, shape.search_tokens, model.exit_count)
        self.distillation.to(self.device)
        self.step, self.elapsed = 0, 0.0
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
        learner = Learner(self.model, self.distillation, self.exits, weights, amp, self.teacher)
        self.learner = self.ranks.wrap(learner, part_unused=changing)

    # --- what is trained ---------------------------------------------------------------------------------------------

    @property
    def exits(self) -> list[int]:
        count = self.model.exit_count
        return [count - 1] if self.config.stage == 1 else list(range(count))

    def _parameter_groups(self) -> list[dict]:
        model, config = self.model, self.config
        encoder = [*model.embedding.parameters(), *model.blocks.parameters()]
        adapters = [p for decisioner in model.decisioners for p in decisioner.adapter.parameters()]
        known = {id(p) for p in (*encoder, *adapters)}
        rest = [p for p in model.parameters() if id(p) not in known] + list(self.distillation.parameters())
        adapter_lr = config.lr if config.lr_adapters is None else config.lr_adapters
        rates = [(encoder, config.lr_backbone), (adapters, adapter_lr)]
        if config.relative_rates:
            rates = [([p], rate * _relative_size(p)) for parameters, rate in rates for p in parameters]
        return [{"params": parameters, "base_lr": rate, "lr": 0.0} for parameters, rate in [*rates, (rest, config.lr)]]

    def _set_trainable(self, progress: float) -> list[int]:
        """Freezes what the stage and the strategy ask for now; returns the exits whose loss counts."""
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
        """Trains until the end of the run, from wherever it stands.

        Raises FloatingPointError if the loss diverges; what was saved before stays.
        """
        started, saved_at = time.monotonic() - self.elapsed, time.monotonic()
        window: dict[str, list[Tensor]] = defaultdict(list)
        if self.ranks.leads:
            self._trim_curves()
        with tqdm(
            total=self.config.steps, initial=self.step, unit="step", mininterval=2, disable=not self.ranks.leads
        ) as bar:
            while self.progress < 1:
                figures = self._train_step()
                for name, value in figures.items():
                    window[name].append(value)
                bar.update()
                self.elapsed = time.monotonic() - started
                if self.config.minutes:
                    self.elapsed = self.ranks.of_first(self.elapsed)  # all must end after the same step
                if self.step % log_every == 0:
                    means = self._means(window)
                    if self.ranks.leads:
                        self._log(means)
                    bar.set_postfix(
                        {name: f"{value:.3f}" for name, value in means.items() if name.startswith(("iou", "loss"))}
                    )
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
        loss, figures = self.learner(self.augmentation(pairs, self.step, self.ranks.rank), exits)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        nn.utils.clip_grad_norm_(trained, self.config.clip_norm)
        self.optimizer.step()
        self.step += 1
        return figures

    def _means(self, window: dict[str, list[Tensor]]) -> dict[str, float]:
        """The mean of each figure over the steps and the processes."""
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
        """Leaves the header and the rows up to the present step: what came after the saved state did not happen."""
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
        """Writes all that is needed to go on from here, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "distillation": self.distillation.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            "config": asdict(self.config),
            "shown": self._shown(),
        }
        partial = self.folder / (STATE_FILE + ".partial")
        torch.save(state, partial)
        partial.replace(self.folder / STATE_FILE)

    def _shown(self) -> dict:
        """What the network is trained on, as far as no array's shape tells it."""
        return {"background_mask": self.model.config.background_mask, **asdict(self.augmentation.config)}

    def resume(self) -> bool:
        """Goes back to the last saved state, if there is one.

        Raises ValueError if that run was configured otherwise: only how long it runs may change.
        """
        path = self.folder / STATE_FILE
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        now, then = asdict(self.config) | self._shown(), state["config"] | state["shown"]
        changed = sorted(name for name in now if now[name] != then.get(name) and name not in RESUMABLE_CHANGES)
        if changed:
            was = ", ".join(f"{name}={then.get(name)}" for name in changed)
            raise ValueError(f"{path} was made with {was}: resume with the same, or choose another folder")
        self.model.load_state_dict(state["model"])
        self.distillation.load_state_dict(state["distillation"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.elapsed = state["step"], state["elapsed"]
        return True
