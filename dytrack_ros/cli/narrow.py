"""The command ``dytrack narrow``: weights with a smaller search region, which take less time a frame."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dytrack_ros.model.arithmetic import Arithmetic
from dytrack_ros.model.weight_files import default_model, model_card, resolve_weights
from dytrack_ros.model.weights import load_weights, save_weights, with_search_region


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="dytrack narrow",
        description="Write weights with a smaller search region at the same scale: fewer tokens a frame, less reach.",
    )
    p.add_argument("--model", help="shipped name or path of weights (default: the package's)")
    p.add_argument(
        "--search-size", type=int, default=192, help="side of the search region in px (default: %(default)s)"
    )
    p.add_argument("--out", type=Path, required=True, help="the new .safetensors file")
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        source = resolve_weights(args.model or default_model())
        model = load_weights(source)
        whole = model.config
        if not 0 < args.search_size <= whole.search_size or args.out.suffix != ".safetensors":
            raise ValueError(
                f"--search-size {args.search_size} must be at most the model's {whole.search_size}, and --out "
                f"{args.out} end in .safetensors"
            )
        narrowed = with_search_region(
            model, args.search_size, whole.search_factor * args.search_size / whole.search_size
        ).eval()
        written = save_weights(args.out, narrowed)
        card = {"model": args.out.stem, "search_size": args.search_size, "narrowed_from": model_card(source)}
        written.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    except (OSError, ValueError) as error:
        print(f"dytrack narrow: {error}", file=sys.stderr)
        return 2
    last = whole.exits.index(whole.depth) + 1
    share = Arithmetic.of(narrowed.config).answer(last) / Arithmetic.of(whole).answer(last)
    print(
        f"wrote {written}: search region {narrowed.config.search_factor:g} target sides, was {whole.search_factor:g}, "
        f"{share:.0%} of the operations at exit {last}; its budget is not calibrated yet: run `dytrack calibrate`"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
