"""Exports the network to ONNX: graphs of the template, each stage and each box head, named as in ``onnx_graphs``."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Iterator
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


class Step(nn.Module):
    """A function of some tensors that runs parts of ``model``, as a module for the exporter."""

    def __init__(self, model: DyTrack, run: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.run = model, run

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(*inputs)


def onnx_graphs(model: DyTrack) -> Iterator[OnnxGraph]:
    """Return all graphs of a fused network; tokens are of the type of its weights, scores and heat maps are fp32."""
    config, embedding, count = model.config, model.embedding, model.exit_count

    def graph(name: str, run: Callable[..., Any], inputs: dict[str, Tensor], *outputs: str) -> OnnxGraph:
        return OnnxGraph(name, Step(model, run), inputs, list(outputs))

    def crop(size: int) -> Tensor:
        return torch.zeros(size, size, 3, dtype=torch.uint8)

    def tokens(number: int) -> Tensor:
        return torch.zeros(1, number, config.width, dtype=embedding.iou_token.dtype)

    def embed(template: Tensor) -> Tensor:
        return embedding.embed_template(_image(template, model))

    def advance(position: int, h: Tensor, r: Tensor | None = None) -> tuple[Tensor, ...]:
        h = model.stage(position, h)
        r, score = model.decide(position, h, r)
        return (r, score) if position == count - 1 else (h, r, score)

    def advance_first(search: Tensor, template_tokens: Tensor) -> tuple[Tensor, ...]:
        return advance(0, embedding.join(template_tokens, embedding.embed_search(_image(search, model))))

    def locate(position: int, r: Tensor) -> Tensor:
        return model.log_heat_maps(position, model.search_features(position, r))

    yield graph("embed_template", embed, {"template": crop(config.template_size)}, "template_tokens")
    for k in range(1, count + 1):
        outputs = [*([f"tokens_{k}"] if k < count else []), f"recycled_{k}", f"score_{k}"]
        if k == 1:
            inputs = {"search": crop(config.search_size), "template_tokens": tokens(config.template_tokens)}
            yield graph("advance_1", advance_first, inputs, *outputs)
            continue
        inputs = {f"tokens_{k - 1}": tokens(config.tokens)}
        if config.recycling != "none":
            inputs[f"recycled_{k - 1}"] = tokens(config.tokens)
        yield graph(f"advance_{k}", functools.partial(advance, k - 1), inputs, *outputs)
    for k in range(1, count + 1):
        inputs = {f"recycled_{k}": tokens(config.tokens)}
        yield graph(f"locate_{k}", functools.partial(locate, k - 1), inputs, f"heat_{k}")


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
