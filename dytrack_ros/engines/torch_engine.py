"""PyTorch: the reference for the other engines, and the engine for CUDA devices."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dytrack_ros.engines.base import Engine, check_device
from dytrack_ros.model.dytrack import DyTrack, normalize
from dytrack_ros.model.weights import load_weights

# The largest difference of scores and box corners between CUDA graphs and eager steps, in fp16.
TOLERANCE = 0.01
WARM_UPS = 3

Steps = dict[str, Callable[[], None]]

_log = logging.getLogger(__name__)


class TorchEngine(Engine):
    """Runs the network in PyTorch: in fp32 on a CPU, in fp16 on a CUDA device unless fp32 is asked for.

    On a CUDA device the steps are recorded as CUDA graphs: launching a network this small kernel by kernel takes longer
    than computing it. Recorded steps are compared with eager ones at the start. If recording fails, or if their answers
    differ, the eager steps are used and the log says why.

    Args:
        weights, device, threads, precision: as in :func:`dytrack_ros.engines.create_engine`. ``threads`` is set for the
            whole process.
        cuda_graphs: whether to record CUDA graphs on a CUDA device.

    Raises:
        ValueError: no such device.
    """

    name = "torch"

    def __init__(
        self,
        weights: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "auto",
        cuda_graphs: bool = True,
    ) -> None:
        check_device(device)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        on_gpu = self._device.type == "cuda"
        if on_gpu and not torch.cuda.is_available():
            raise ValueError(f"device {device!r} was asked for, but PyTorch finds no CUDA device; use 'cpu' or 'auto'")
        self.device = str(self._device)
        self.precision = precision
        dtype = torch.float16 if on_gpu and precision == "auto" else torch.float32
        model = load_weights(weights).fuse().to(self._device, dtype).requires_grad_(False)
        super().__init__(model.config)
        self._buffers = TorchSteps(model, self._device, dtype)
        self._steps = self._buffers.by_name()
        if on_gpu and cuda_graphs:
            self._use_recorded(record_cuda_graphs)
        self._reference_answers()  # so that the first frame takes no longer than the others

    def _use_recorded(self, record: Callable[[Steps, torch.device], Steps]) -> None:
        """Replace the eager steps by those that ``record`` returns, if these give the same answers."""
        eager = self._steps
        expected = self._reference_answers()
        try:
            self._steps = record(eager, self._device)
            difference = float(np.abs(self._reference_answers() - expected).max())
        except RuntimeError as error:
            self._steps = eager
            _log.warning("CUDA graphs are not used, recording failed: %s", error)
            return
        if not difference <= TOLERANCE:  # it may be NaN
            self._steps = eager
            _log.warning("CUDA graphs are not used, their answers differ by %.3g from the eager ones", difference)

    def _take_template(self, template: NDArray[np.uint8]) -> None:
        self._buffers.template.copy_(torch.from_numpy(np.ascontiguousarray(template)))
        self._steps["template"]()

    def _take_search(self, search: NDArray[np.uint8]) -> None:
        self._buffers.search.copy_(torch.from_numpy(np.ascontiguousarray(search)))

    def _run_stage(self, position: int) -> float:
        self._steps[f"advance_{position + 1}"]()
        return self._buffers.score.item()

    def _run_head(self, position: int) -> NDArray[np.float32]:
        self._steps[f"locate_{position + 1}"]()
        heat_maps: NDArray[np.float32] = self._buffers.heat_maps.cpu().numpy().copy()
        return heat_maps


class TorchSteps:
    """The network as steps without arguments that work in place, on buffers that stay where they are.

    ``template`` and ``search`` hold the crops, ``score`` (1,) and ``heat_maps`` (2, H, W) float32 the answers.
    ``advance_k`` needs ``advance_{k-1}`` before it, ``locate_k`` the exit reached last; exits count from 1.
    """

    def __init__(self, model: DyTrack, device: torch.device, dtype: torch.dtype) -> None:
        config = model.config
        self._model, self._dtype = model, dtype

        def buffer(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        self.template = buffer(config.template_size, config.template_size, 3, dtype=torch.uint8)
        self.search = buffer(config.search_size, config.search_size, 3, dtype=torch.uint8)
        self.score = buffer(1, dtype=torch.float32)
        self.heat_maps = buffer(2, config.search_grid, config.search_grid, dtype=torch.float32)
        self._template_tokens = buffer(1, config.template_tokens, config.width)
        self._tokens, self._recycled = (buffer(1, config.tokens, config.width) for _ in range(2))

    def by_name(self) -> Steps:
        """Return all steps; each comes after those that it needs."""
        steps: Steps = {"template": self._embed_template}
        for position in range(self._model.exit_count):
            steps[f"advance_{position + 1}"] = functools.partial(self._advance, position)
            steps[f"locate_{position + 1}"] = functools.partial(self._locate, position)
        return steps

    def _image(self, pixels: Tensor) -> Tensor:
        return normalize(pixels.permute(2, 0, 1)[None].float()).to(self._dtype)

    @torch.inference_mode()
    def _embed_template(self) -> None:
        self._template_tokens.copy_(self._model.embedding.embed_template(self._image(self.template)))

    @torch.inference_mode()
    def _advance(self, position: int) -> None:
        tokens = self._tokens
        if position == 0:
            embedding = self._model.embedding
            tokens = embedding.join(self._template_tokens, embedding.embed_search(self._image(self.search)))
        tokens = self._model.stage(position, tokens)
        recycled, score = self._model.decide(position, tokens, self._recycled if position else None)
        if position + 1 < self._model.exit_count:
            self._tokens.copy_(tokens)
        self._recycled.copy_(recycled)
        self.score.copy_(score)

    @torch.inference_mode()
    def _locate(self, position: int) -> None:
        features = self._model.search_features(position, self._recycled)
        self.heat_maps.copy_(self._model.log_heat_maps(position, features)[0])


def record_cuda_graphs(steps: Steps, device: torch.device) -> Steps:
    """Record each step as a CUDA graph, and return the graphs' replays.

    The steps must work in place, on memory that stays where it is; recording runs them in their order. The graphs share
    the memory that is needed only within a step. Raises RuntimeError if a step cannot be recorded.
    """
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries choose their kernels and allocate memory before the recording
            for _ in range(WARM_UPS):
                for step in steps.values():
                    step()
        torch.cuda.current_stream().wait_stream(stream)
        pool = torch.cuda.graph_pool_handle()
        return {name: _record(step, pool) for name, step in steps.items()}


def _record(step: Callable[[], None], pool: Any) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    # Other threads may use the GPU meanwhile: only this one is restricted to what can be recorded.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        step()
    return graph.replay
