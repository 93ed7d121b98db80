"""Inputs and expected answers for the tests of engines."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dytrack_ros.engines.registry import missing_packages
from dytrack_ros.model import load_weights
from dytrack_ros.model.dytrack import normalize

BOX_TOLERANCE = 0.5 / 256  # half a pixel of the search region
SCORE_TOLERANCE = 0.01
GRAPH_ENGINES = [
    pytest.param(name, marks=pytest.mark.skipif(bool(missing_packages(name)), reason=f"{name} or onnx is missing"))
    for name in ("openvino", "onnxruntime")
]
needs_onnx = pytest.mark.skipif(bool(missing_packages("onnxruntime")), reason="onnx or onnxruntime is missing")


def random_crop(seed, size):
    """Coarse blocks, so that the network sees structure."""
    blocks = np.random.default_rng(seed).integers(0, 256, (size // 32, size // 32, 3), np.uint8)
    return blocks.repeat(32, axis=0).repeat(32, axis=1)


TEMPLATES = [random_crop(seed, 128) for seed in (1, 2)]
SEARCHES = [random_crop(seed, 256) for seed in (3, 4, 5)]


def answers(engine, search, depth=3):
    """(score, x1, y1, x2, y2) of each exit down to ``depth``."""
    engine.begin(search)
    return np.array([[engine.advance(), *engine.locate()] for _ in range(depth)])


def network_outputs(weights, template, search):
    """The network's own output of each exit, in one forward pass."""

    def image(crop):
        return normalize(torch.from_numpy(crop).permute(2, 0, 1)[None].float())

    with torch.inference_mode():
        return load_weights(weights)(image(template), image(search))


def expected_answers(weights, template, search):
    """(score, x1, y1, x2, y2) of each exit from the network itself."""
    outputs = network_outputs(weights, template, search)
    return np.array([[float(output.score), *output.box[0].numpy()] for output in outputs])


def assert_same(got, expected, box_tolerance=BOX_TOLERANCE):
    assert np.abs(got[:, 0] - expected[:, 0]).max() < SCORE_TOLERANCE
    assert np.abs(got[:, 1:] - expected[:, 1:]).max() < box_tolerance


def assert_computes(engine, weights, box_tolerance=BOX_TOLERANCE):
    """The engine gives the network's answers."""
    engine.set_template(TEMPLATES[0])
    expected = expected_answers(weights, TEMPLATES[0], SEARCHES[0])
    assert_same(answers(engine, SEARCHES[0], len(expected)), expected, box_tolerance)


def python(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out
