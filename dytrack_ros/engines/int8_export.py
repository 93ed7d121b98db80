"""Quantises the ONNX graphs after training, for OpenVINO, by NNCF from example crops, and checks the result.

In a stage all matrix products are quantised; in a box head only the convolutions, because a quantised soft-argmax loses
the width of boxes. The template's graph stays as it is: it runs once a target.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from tqdm import tqdm

from dytrack_ros.engines.cache import replace_cached
from dytrack_ros.engines.onnx_graphs import (
    Crops,
    cached_graphs,
    graph_file,
    graph_names,
    int8_file,
    int8_folder,
    read_manifest,
    write_manifest,
)
from dytrack_ros.engines.openvino_engine import OpenVINOEngine
from dytrack_ros.engines.torch_engine import TorchEngine
from dytrack_ros.model.weight_files import load_config

# Largest mean deviations from fp32 at any exit, over crops that were not calibrated on. dytrack_small has at most 0.094
# (box) and 0.022 (score), bf16 has 0.007 and 0.002; with a quantised soft-argmax the box has 1.0 (120 crops of training
# images).
LARGEST_BOX_DISTANCE = 0.15
LARGEST_SCORE_DIFFERENCE = 0.05
NOT_IN_HEADS = [
    "MatMul", "ReduceSum", "ReduceMean", "Multiply", "Add", "Subtract", "Softmax", "Exp", "Divide", "LogSoftmax", "MVN",
]  # fmt: skip


class Deviation(NamedTuple):
    """Mean deviation of an exit's answers from fp32: of the score in [0, 1], of the box as 1 - IoU."""

    score: float
    box: float


def make_int8_graphs(weights: Path, examples: Sequence[Crops], unseen: Sequence[Crops]) -> tuple[Path, list[Deviation]]:
    """Quantise the graphs of a weights file, check them and put them where the engine looks for them.

    Args:
        weights: the weights file.
        examples: crops that give the value ranges.
        unseen: other crops, on which the graphs are compared with PyTorch in fp32.

    Returns:
        The folder, and each exit's deviation.

    Raises:
        ImportError: NNCF is not installed.
        OSError: the cache cannot be written.
        ValueError: the answers are too far from fp32; graphs made before stay.
    """
    found: list[Deviation] = []

    def write(folder: Path) -> None:
        write_int8_graphs(weights, examples, folder)
        found.extend(deviations(weights, unseen, folder))
        # NaN must fail too.
        if not all(d.score <= LARGEST_SCORE_DIFFERENCE and d.box <= LARGEST_BOX_DISTANCE for d in found):
            exits = "; ".join(f"exit {k}: score {d.score:.3f}, box {d.box:.3f}" for k, d in enumerate(found, start=1))
            raise ValueError(
                f"the int8 graphs of {weights} are too far from fp32 and are not kept ({exits}; at most "
                f"{LARGEST_SCORE_DIFFERENCE:g} and {LARGEST_BOX_DISTANCE:g}): give more pairs, or images like yours"
            )

    folder = int8_folder(weights)
    replace_cached(folder, write)
    return folder, found


def write_int8_graphs(weights: Path, examples: Sequence[Crops], folder: Path) -> None:
    """Write all graphs, quantised, and their manifest into an existing folder. Raises ImportError without NNCF."""
    os.environ.setdefault("NNCF_CI", "1")  # turns off NNCF's telemetry
    import nncf

    names = graph_names(len(load_config(weights).exits))
    core = ov.Core()
    with cached_graphs(weights) as cached:
        facts = read_manifest(cached)
        models = {name: core.read_model(graph_file(cached, name)) for name in names}
    inputs = _inputs_of(core, models, examples)
    for name, model in models.items():
        if name != "embed_template":
            is_head = name.startswith("locate")
            model = nncf.quantize(
                model,
                nncf.Dataset(inputs[name]),
                subset_size=len(examples),
                preset=nncf.QuantizationPreset.MIXED,
                model_type=None if is_head else nncf.ModelType.TRANSFORMER,
                ignored_scope=nncf.IgnoredScope(types=NOT_IN_HEADS, validate=False) if is_head else None,
            )
        ov.save_model(model, int8_file(folder, name), compress_to_fp16=False)
    files = [file for name in names for file in (int8_file(folder, name), int8_file(folder, name).with_suffix(".bin"))]
    write_manifest(folder, files, {**facts, "precision": "int8", "nncf": nncf.__version__, "openvino": ov.__version__})


def _inputs_of(
    core: ov.Core, models: dict[str, ov.Model], examples: Sequence[Crops]
) -> dict[str, list[dict[str, Any]]]:
    """Return the inputs of each graph for each of the crops."""
    compiled = {
        name: core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}) for name, model in models.items()
    }
    inputs: dict[str, list[dict[str, Any]]] = {name: [] for name in models}
    for crops in tqdm(examples, desc="examples", unit="pair", disable=None):
        values = crops._asdict()
        for name, graph in compiled.items():
            taken = {}
            for port in graph.inputs:
                (value,) = port.names & values.keys()
                taken[value] = values[value]
            inputs[name].append(taken)
            for port, value in graph(taken).items():
                values |= {alias: value.copy() for alias in port.names}
    return inputs


def deviations(weights: Path, unseen: Sequence[Crops], folder: Path) -> list[Deviation]:
    """Return each exit's deviation of the int8 graphs in ``folder`` from PyTorch in fp32."""
    engines = TorchEngine(weights, device="cpu"), OpenVINOEngine(weights, graphs=folder, precision="int8")
    found = []
    for crops in tqdm(unseen, desc="checking", unit="pair", disable=None):
        exact, rounded = (engine.answers(*crops) for engine in engines)
        ious = [_iou(*boxes) for boxes in zip(exact[:, 1:], rounded[:, 1:], strict=True)]
        found.append([abs(exact[:, 0] - rounded[:, 0]), 1 - np.array(ious)])
    return [Deviation(float(score), float(box)) for score, box in np.mean(found, axis=0).T]


def _iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the IoU of two boxes (x1, y1, x2, y2); 0 where one has no area."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    union = sum(float(np.prod(np.maximum(box[2:] - box[:2], 0))) for box in (one, other)) - shared
    return shared / union if shared else 0.0
