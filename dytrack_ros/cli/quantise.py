"""The command ``dytrack quantise``: int8 graphs of the network for ``openvino``, calibrated on training images.

Run it once per weights; ``precision`` ``int8`` uses the graphs from then on."""

from __future__ import annotations

import argparse

import numpy as np
from tqdm import tqdm

from dytrack_ros.cli.command import command
from dytrack_ros.cli.types import at_least_one
from dytrack_ros.data.datasets import ImageDataset
from dytrack_ros.data.registry import DATA_HELP, open_data
from dytrack_ros.engines.onnx_graphs import Crops
from dytrack_ros.engines.requirements import QUANTISE_PACKAGES, install_advice, not_installed
from dytrack_ros.model.presets import DyTrackConfig
from dytrack_ros.model.weight_files import default_model, load_config, resolve_weights
from dytrack_ros.tracking.crop import CropWindow, cut_template


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="dytrack quantise", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--data", nargs="+", required=True, help=DATA_HELP)
    p.add_argument("--model", help="shipped name or path of weights; the package's default if not given")
    p.add_argument("--pairs", type=at_least_one, default=200, help="examples to find the ranges of values on")
    p.add_argument("--check-pairs", type=at_least_one, default=100, help="other examples to compare with fp32 on")
    return p


def example_crops(dataset: ImageDataset, config: DyTrackConfig, count: int) -> list[Crops]:
    """Return templates and search regions of ``count`` images, shifted and scaled as during tracking.

    Raises ValueError if the dataset has fewer images.
    """
    if len(dataset.images) < count:
        raise ValueError(
            f"--data has {len(dataset.images)} images, but --pairs and --check-pairs ask for {count}, one of each image"
        )
    random, found = np.random.default_rng(0), []
    numbers = random.choice(len(dataset.images), count, replace=False)
    for number in tqdm(numbers, desc="reading images", unit="img", disable=None):
        labelled = dataset.images[int(number)]
        box = np.asarray(labelled.boxes[random.choice(labelled.trainable_boxes())], float)
        seen = box.copy()
        seen[:2] += random.uniform(-0.5, 0.5, 2) * np.sqrt(box[2] * box[3])
        seen[2:] *= np.exp(random.uniform(-0.2, 0.2))
        image = dataset.pixels(int(number))[..., ::-1]
        template = cut_template(image, box, config)
        found.append(Crops(template, CropWindow.around(seen, config.search_factor).cut(image, config.search_size)))
    return found


@command("quantise")
def main(argv: list[str] | None) -> int:
    args = parser().parse_args(argv)
    if absent := not_installed(QUANTISE_PACKAGES):
        raise ImportError(f"making int8 graphs needs, once: {install_advice(absent)}")
    from dytrack_ros.engines.int8_export import make_int8_graphs  # only here: it imports OpenVINO

    weights = resolve_weights(args.model or default_model())
    crops = example_crops(open_data(args.data), load_config(weights), args.pairs + args.check_pairs)
    folder, found = make_int8_graphs(weights, crops[: args.pairs], crops[args.pairs :])
    for k, deviation in enumerate(found, start=1):
        print(f"exit {k}: mean difference from fp32: score {deviation.score:.4f}, box {deviation.box:.4f} (1 - IoU)")
    print(f"wrote {folder}")
    return 0
