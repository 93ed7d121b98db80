"""Exports the network to ONNX: graphs of the template, each stage and each box head, named as in ``onnx_graphs``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dytrack_ros.engines.base import reference_crop
from dytrack_ros.model.dytrack import DyTrack, normalize
from dytrack_ros.model.weights import load_weights

OPSET = 18


class OnnxGraph(NamedTuple):
    """A graph to export: an example of each input by name, whose shape becomes static, and the names of the outputs."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]


def export(weights: Path, precision: str = "fp32") -> tuple[dict[str, Any], Iterator[tuple[str, bytes]]]:
    """Export the network of a weights file in ``fp32`` or ``fp16``.

    Returns:
        Facts for the manifest: ``opset``, ``config`` and PyTorch's ``reference_answers`` in fp32. And an iterator over
        name and ONNX file of each graph.
    """
    model = load_weights(weights).fuse().requires_grad_(False)
    facts = {"opset": OPSET, "config": model.config.to_dict(), "reference_answers": _reference_answers(model)}
    if precision == "fp16":
        model.half()
    graphs = list(onnx_graphs(model))
    # disable=None: no bar without a terminal, as under ros2 launch.
    bar = tqdm(graphs, desc="making graphs", unit="graph", leave=False, disable=None)
    return facts, ((graph.name, _onnx_file(graph)) for graph in bar)


class EmbedTemplate(nn.Module):
    """Template crop, uint8 (Tz, Tz, 3), to its tokens (1, Nz, C)."""

    def __init__(self, model: DyTrack) -> None:
        super().__init__()
        self.model = model

    def forward(self, template: Tensor) -> Tensor:
        return self.model.embedding.embed_template(_image(template, self.model))


class Advance(nn.Module):
    """Stage and decisioner of an exit: (h_{k-1}, r_{k-1}) to (h_k, r_k, s_k); the last exit gives no h_k."""

    def __init__(self, model: DyTrack, position: int) -> None:
        super().__init__()
        self.model = model
        self.position = position
        self.is_last = position == model.exit_count - 1

    def forward(self, tokens: Tensor, recycled: Tensor | None = None) -> tuple[Tensor, ...]:
        tokens = self.model.stage(self.position, tokens)
        recycled, score = self.model.decide(self.position, tokens, recycled)
        return (recycled, score) if self.is_last else (tokens, recycled, score)


class AdvanceFirst(Advance):
    """The same for the first exit: from the search crop, uint8 (Tx, Tx, 3), and the template's tokens (1, Nz, C)."""

    def forward(self, search: Tensor, template_tokens: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        embedding = self.model.embedding
        return super().forward(embedding.join(template_tokens, embedding.embed_search(_image(search, self.model))))


class Locate(nn.Module):
    """Box head of an exit: r_k (1, N, C) to its corner heat maps, fp32 log-probabilities (1, 2, H, W)."""

    def __init__(self, model: DyTrack, position: int) -> None:
        super().__init__()
        self.model = model
        self.position = position

    def forward(self, recycled: Tensor) -> Tensor:
        return self.model.log_heat_maps(self.position, self.model.search_features(self.position, recycled))


def onnx_graphs(model: DyTrack) -> Iterator[OnnxGraph]:
    """Return all graphs of a fused network; tokens are of the type of its weights, scores and heat maps are fp32."""
    config = model.config

    def crop(size: int) -> Tensor:
        return torch.zeros(size, size, 3, dtype=torch.uint8)

    def tokens(count: int) -> Tensor:
        return torch.zeros(1, count, config.width, dtype=model.embedding.iou_token.dtype)

    yield OnnxGraph(
        "embed_template", EmbedTemplate(model), {"template": crop(config.template_size)}, ["template_tokens"]
    )
    for k in range(1, model.exit_count + 1):
        outputs = [f"recycled_{k}", f"score_{k}"]
        if k < model.exit_count:
            outputs.insert(0, f"tokens_{k}")
        if k == 1:
            inputs = {"search": crop(config.search_size), "template_tokens": tokens(config.template_tokens)}
            yield OnnxGraph("advance_1", AdvanceFirst(model, 0), inputs, outputs)
            continue
        inputs = {f"tokens_{k - 1}": tokens(config.tokens)}
        if config.recycling != "none":
            inputs[f"recycled_{k - 1}"] = tokens(config.tokens)
        yield OnnxGraph(f"advance_{k}", Advance(model, k - 1), inputs, outputs)
    for k in range(1, model.exit_count + 1):
        yield OnnxGraph(f"locate_{k}", Locate(model, k - 1), {f"recycled_{k}": tokens(config.tokens)}, [f"heat_{k}"])


def _image(crop: Tensor, model: DyTrack) -> Tensor:
    """Convert a crop, uint8 RGB (H, W, 3), to the network's input (1, 3, H, W)."""
    # The cast comes first: no other layer of TensorRT takes uint8.
    return normalize(crop.float().permute(2, 0, 1)[None]).to(model.embedding.iou_token.dtype)


def _onnx_file(graph: OnnxGraph) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            file,  # type: ignore[arg-type]  # the TorchScript exporter writes to file objects
            input_names=list(graph.inputs),
            output_names=graph.outputs,
            opset_version=OPSET,
            # The other exporter (dynamo) takes ten times as long, needs onnxscript, and its graphs run no faster.
            dynamo=False,
        )
    return file.getvalue()


@torch.inference_mode()
def _reference_answers(model: DyTrack) -> list[list[float]]:
    """Return (score, x1, y1, x2, y2) of each exit for the reference crops."""
    crops = (reference_crop(size) for size in (model.config.template_size, model.config.search_size))
    outputs = model(*(_image(torch.from_numpy(crop), model) for crop in crops))
    return [[float(output.score), *output.box[0].tolist()] for output in outputs]
