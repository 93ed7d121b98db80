"""What the tests of engines ask, and what the answers must be."""

import subprocess
import sys

import numpy as np
import torch

from dytrack_ros.model import load_weights
from dytrack_ros.model.dytrack import normalize

BOX_TOLERANCE = 0.5 / 256  # half a pixel of the search region
SCORE_TOLERANCE = 0.01


def random_crop(seed, size):
    """Coarse blotches, so that the network sees something other than the same grey everywhere."""
    blotches = np.random.default_rng(seed).integers(0, 256, (size // 32, size // 32, 3), np.uint8)
    return blotches.repeat(32, axis=0).repeat(32, axis=1)


TEMPLATES = [random_crop(seed, 128) for seed in (1, 2)]
SEARCHES = [random_crop(seed, 256) for seed in (3, 4, 5)]


def answers(engine, search, depth=3):
    """(score, x1, y1, x2, y2) of each exit down to ``depth``."""
    engine.begin(search)
    return np.array([[engine.advance(), *engine.locate()] for _ in range(depth)])


def expected_answers(weights, template, search):
    """The same from the network itself, in one piece."""

    def image(crop):
        return normalize(torch.from_numpy(crop).permute(2, 0, 1)[None].float())

    with torch.inference_mode():
        outputs = load_weights(weights)(image(template), image(search))
    return np.array([[float(output.score), *output.box[0].numpy()] for output in outputs])


def assert_same(got, expected, box_tolerance=BOX_TOLERANCE):
    assert np.abs(got[:, 0] - expected[:, 0]).max() < SCORE_TOLERANCE
    assert np.abs(got[:, 1:] - expected[:, 1:]).max() < box_tolerance


def python(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out
