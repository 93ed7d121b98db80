"""The command ``dytrack narrow``: weights with a smaller search region at the same scale, for less time a frame."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dytrack_ros.cli.command import command
from dytrack_ros.model.weight_files import default_model, model_card, resolve_weights
from dytrack_ros.model.weights import load_weights, save_weights, with_search_region


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="dytrack narrow", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--model", help="shipped name or path of weights; the package's default if not given")
    p.add_argument("--search-size", type=int, default=192, help="side of the search region in px")
    p.add_argument("--out", type=Path, required=True, help="the new .safetensors file")
    return p


@command("narrow")
def main(argv: list[str] | None) -> int:
    args = parser().parse_args(argv)
    source = resolve_weights(args.model or default_model())
    model = load_weights(source)
    whole = model.config
    if not 0 < args.search_size <= whole.search_size or args.out.suffix != ".safetensors":
        raise ValueError(
            f"--search-size {args.search_size} must be at most {whole.search_size}, --out end in .safetensors"
        )
    factor = whole.search_factor * args.search_size / whole.search_size
    written = save_weights(args.out, with_search_region(model, args.search_size, factor))
    card = {"model": args.out.stem, "search_size": args.search_size, "narrowed_from": model_card(source)}
    written.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"wrote {written}: search region {factor:g} target sides, was {whole.search_factor:g}")
    return 0
