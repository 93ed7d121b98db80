"""The command ``export``: the network as ONNX graphs, one for each stage and box head, checked against PyTorch."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dytrack_ros.version import __version__
from dytrack_ros.engines.cache import cached_graphs
from dytrack_ros.engines.onnx_graphs import (
    PRECISIONS,
    graph_file,
    graph_names,
    read_manifest,
    reference_crop,
    write_manifest,
)
from dytrack_ros.engines.registry import missing_packages
from dytrack_ros.model.dytrack import DyTrack, normalize
from dytrack_ros.model.weight_files import default_model, resolve_weights
from dytrack_ros.model.weights import load_weights
from dytrack_ros.utils import file_sha256

OPSET = 18
TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2}


class Graph(NamedTuple):
    """One ONNX graph to be: an example of each input by name (shapes are static), and the names of the outputs."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]


def _image(crop: Tensor, model: DyTrack) -> Tensor:
    """uint8 RGB (H, W, 3) to the network's normalised input (1, 3, H, W)."""
    # Floats first: of TensorRT's layers only the cast takes uint8.
    return normalize(crop.float().permute(2, 0, 1)[None]).to(model.embedding.iou_token.dtype)


class EmbedTemplate(nn.Module):
    """Template crop, uint8 (Tz, Tz, 3), to its tokens (1, Nz, C)."""

    def __init__(self, model: DyTrack):
        super().__init__()
        self.model = model

    def forward(self, template: Tensor) -> Tensor:
        return self.model.embedding.embed_template(_image(template, self.model))


class Advance(nn.Module):
    """Stage and decisioner of an exit: (h_{k-1}, r_{k-1}) to (h_k, r_k, s_k); the last exit gives no h_k."""

    def __init__(self, model: DyTrack, position: int):
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

    def forward(self, search: Tensor, template_tokens: Tensor) -> tuple[Tensor, ...]:
        embedding = self.model.embedding
        return super().forward(embedding.join(template_tokens, embedding.embed_search(_image(search, self.model))))


class Locate(nn.Module):
    """Box head of an exit: r_k (1, N, C) to the box (1, 4) in [0, 1] of the search region."""

    def __init__(self, model: DyTrack, position: int):
        super().__init__()
        self.model = model
        self.position = position

    def forward(self, recycled: Tensor) -> Tensor:
        return self.model.locate(self.position, recycled)


def graphs(model: DyTrack) -> Iterator[Graph]:
    """All graphs of a network whose blocks are fused, in the order of :func:`graph_names`. Tokens are of the type of its
    weights, scores and boxes are fp32."""
    config = model.config

    def crop(size: int) -> Tensor:
        return torch.zeros(size, size, 3, dtype=torch.uint8)

    def tokens(count: int) -> Tensor:
        return torch.zeros(1, count, config.width, dtype=model.embedding.iou_token.dtype)

    yield Graph("embed_template", EmbedTemplate(model), {"template": crop(config.template_size)}, ["template_tokens"])
    for k in range(1, model.exit_count + 1):
        outputs = [f"recycled_{k}", f"score_{k}"]
        if k < model.exit_count:
            outputs.insert(0, f"tokens_{k}")
        if k == 1:
            inputs = {"search": crop(config.search_size), "template_tokens": tokens(config.template_tokens)}
            yield Graph("advance_1", AdvanceFirst(model, 0), inputs, outputs)
            continue
        inputs = {f"tokens_{k - 1}": tokens(config.tokens)}
        if config.recycling != "none":
            inputs[f"recycled_{k - 1}"] = tokens(config.tokens)
        yield Graph(f"advance_{k}", Advance(model, k - 1), inputs, outputs)
    for k in range(1, model.exit_count + 1):
        yield Graph(f"locate_{k}", Locate(model, k - 1), {f"recycled_{k}": tokens(config.tokens)}, [f"box_{k}"])


def write_graphs(weights: Path, folder: Path, precision: str = "fp32") -> None:
    """Writes all graphs of a weights file and their manifest into a folder that exists. Raises ImportError without onnx.

    ``precision`` is that of the weights and of all layers but three: layer norms, the sigmoid of the score and the
    soft-argmax of the box are computed in fp32 in either case.
    """
    if missing_packages("export"):
        raise ImportError("making the network's graphs needs onnx: pip install onnx")
    model = load_weights(weights).fuse().requires_grad_(False)
    names = graph_names(model.exit_count)
    facts = {
        "weights": weights.name,
        "weights_sha256": file_sha256(weights),
        "package_version": __version__,
        "opset": OPSET,
        "precision": precision,
        "config": model.config.to_dict(),
        "reference_answers": _reference_answers(model),
    }
    if precision == "fp16":
        model.half()
    # disable=None: no bar where nobody watches, as under ros2 launch.
    for graph in tqdm(graphs(model), desc="making graphs", total=len(names), unit="graph", leave=False, disable=None):
        _write_graph(graph, graph_file(folder, graph.name))
    write_manifest(folder, [graph_file(folder, name) for name in names], facts)


def _write_graph(graph: Graph, path: Path) -> None:
    import onnx

    from dytrack_ros.engines.constant_folding import fold_constants

    exported = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            exported,
            input_names=list(graph.inputs),
            output_names=graph.outputs,
            opset_version=OPSET,
            # The other exporter (dynamo) takes ten times as long, needs onnxscript, and its graphs run no faster.
            dynamo=False,
        )
    onnx.save(fold_constants(onnx.load_model_from_string(exported.getvalue())), path)


@torch.inference_mode()
def _reference_answers(model: DyTrack) -> list[list[float]]:
    """(score, x1, y1, x2, y2) of each exit for the reference crops."""
    crops = (reference_crop(size) for size in (model.config.template_size, model.config.search_size))
    outputs = model(*(_image(torch.from_numpy(crop), model) for crop in crops))
    return [[float(output.score), *output.box[0].tolist()] for output in outputs]


def deviations(weights: Path, folder: Path, frames: int = 3) -> list[tuple[float, float]]:
    """For each exit the largest difference of scores and of box corners (both in [0, 1]) between PyTorch and ONNX
    Runtime, over random crops. Raises ImportError without onnxruntime."""
    if missing_packages("onnxruntime"):
        raise ImportError("the check needs onnxruntime: pip install onnxruntime, or use --no-check")
    from dytrack_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
    from dytrack_ros.engines.torch_engine import TorchEngine

    engines = [TorchEngine(weights, "cpu"), OnnxRuntimeEngine(weights, graphs=folder)]
    rng = np.random.default_rng(0)
    worst = np.zeros((engines[0].exit_count, 2))
    for _ in tqdm(range(frames), desc="checking", unit="frame", leave=False, disable=None):
        template, search = (_random_crop(rng, size) for size in (engines[0].template_size, engines[0].search_size))
        for engine in engines:
            engine.set_template(template)
            engine.begin(search)
        for row in worst:
            scores = [engine.advance() for engine in engines]
            boxes = [engine.locate() for engine in engines]
            row[:] = np.maximum(row, [abs(scores[0] - scores[1]), np.abs(boxes[0] - boxes[1]).max()])
    return [(float(score), float(box)) for score, box in worst]


def _random_crop(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.integers(0, 256, (size, size, 3), np.uint8)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="export", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--model", help="shipped name or path of weights; the package's default if not given")
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder for the graphs and graphs.json")
    where.add_argument("--cache", action="store_true", help="put them where the engines of this user look for them")
    p.add_argument("--precision", choices=PRECISIONS, default="fp32",
                   help="fp16 is what TensorRT computes in; int8: see the command quantise")  # fmt: skip
    p.add_argument("--no-check", action="store_true", help="do not compare with PyTorch")
    p.add_argument(
        "--tolerance",
        type=float,
        help="largest difference of scores and of box corners; if not given "
        + " or ".join(f"{value:g} ({name})" for name, value in TOLERANCES.items()),
    )
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    tolerance = TOLERANCES[args.precision] if args.tolerance is None else args.tolerance
    try:
        weights = resolve_weights(args.model or default_model())
        with contextlib.ExitStack() as stack:
            if args.cache:
                folder = stack.enter_context(cached_graphs(weights, args.precision))
            else:
                folder = args.out
                folder.mkdir(parents=True, exist_ok=True)
                write_graphs(weights, folder, args.precision)
            print(f"{weights.stem}: ONNX, opset {OPSET}, {args.precision}, in {folder}")
            for name in read_manifest(folder)["files"]:
                print(f"  {name:22} {(folder / name).stat().st_size / 1e6:7.1f} MB")
            worst = [] if args.no_check else deviations(weights, folder)
    except (OSError, ValueError, ImportError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    for k, (score, box) in enumerate(worst, start=1):
        print(
            f"exit {k}: largest difference from PyTorch: score {score:.1e}, box corner {box:.1e} of the search region"
        )
    # Not "any above": a difference that is no number must fail too.
    if not all(value <= tolerance for row in worst for value in row):
        print(f"export: the graphs differ from PyTorch by more than {tolerance:g}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
