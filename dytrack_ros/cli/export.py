"""``dytrack export``: the network as ONNX graphs, one for each stage and box head, compared with PyTorch."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dytrack_ros.cli.command import command
from dytrack_ros.engines.onnx_graphs import PRECISIONS, cached_graphs, read_manifest, write_graphs
from dytrack_ros.engines.registry import missing_packages
from dytrack_ros.model.weight_files import default_model, resolve_weights

TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2}  # of scores and of box corners in [0, 1]


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    p = argparse.ArgumentParser(
        prog="dytrack export", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--model", help="shipped name or path of weights; the package's default if not given")
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder for the graphs and graphs.json")
    where.add_argument("--cache", action="store_true", help="put them where the engines of this user look for them")
    p.add_argument("--precision", choices=PRECISIONS, default="fp32",
                   help="TensorRT uses fp16; for int8 see `dytrack quantise`")  # fmt: skip
    p.add_argument("--no-check", action="store_true", help="do not compare with PyTorch")
    return p


@command("export")
def main(argv: list[str] | None) -> int:
    """Run the command; return 1 if the graphs differ too much from PyTorch, 2 for an error."""
    args = parser().parse_args(argv)
    tolerance = TOLERANCES[args.precision]
    weights = resolve_weights(args.model or default_model())
    with contextlib.ExitStack() as stack:
        if args.cache:
            folder = stack.enter_context(cached_graphs(weights, args.precision))
        else:
            folder = args.out
            folder.mkdir(parents=True, exist_ok=True)
            write_graphs(weights, folder, args.precision)
        facts = read_manifest(folder)
        print(f"{weights.stem}: ONNX, opset {facts['opset']}, {args.precision}, in {folder}")
        for name in facts["files"]:
            print(f"  {name:22} {(folder / name).stat().st_size / 1e6:7.1f} MB")
        worst = [] if args.no_check else differences(weights, folder)
    for k, (score, box) in enumerate(worst, start=1):
        print(
            f"exit {k}: largest difference from PyTorch: score {score:.1e}, box corner {box:.1e} of the search region"
        )
    # Not "any above the tolerance": NaN must fail too.
    if not all(value <= tolerance for row in worst for value in row):
        print(f"dytrack export: the graphs differ from PyTorch by more than {tolerance:g}", file=sys.stderr)
        return 1
    return 0


def differences(weights: Path, folder: Path, frames: int = 3) -> list[tuple[float, float]]:
    """Compare the graphs in ONNX Runtime with PyTorch on random crops.

    Returns the largest difference of each exit's scores and of its box corners, both in [0, 1]. Raises ImportError
    without onnxruntime.
    """
    if missing_packages("onnxruntime"):
        raise ImportError("the check needs onnxruntime: pip install onnxruntime, or use --no-check")
    from dytrack_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
    from dytrack_ros.engines.torch_engine import TorchEngine

    engines = TorchEngine(weights, device="cpu"), OnnxRuntimeEngine(weights, graphs=folder)
    rng, found = np.random.default_rng(0), []
    for _ in tqdm(range(frames), desc="checking", unit="frame", leave=False, disable=None):
        sizes = (engines[0].template_size, engines[0].search_size)
        crops = [rng.integers(0, 256, (size, size, 3), np.uint8) for size in sizes]
        found.append(np.abs(engines[0].answers(*crops) - engines[1].answers(*crops)))
    worst = np.max(found, axis=0)
    return [(float(row[0]), float(row[1:].max())) for row in worst]
