"""Weights files without torch: shipped names, paths, configuration, model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dytrack_ros.model.presets import DyTrackConfig

SHIPPED_FOLDER = Path(__file__).resolve().parent.parent / "weights"
FORMAT = "dytrack_ros/1"


def shipped_models() -> list[str]:
    """Return the names of the models shipped with the package."""
    return sorted(path.stem for path in SHIPPED_FOLDER.glob("*.safetensors"))


def default_model() -> str:
    """Return the name of the default model. Raises FileNotFoundError if no model was shipped."""
    for name in ("dytrack_small", "dytrack_tiny", "dytrack_base"):
        if name in shipped_models():
            return name
    raise FileNotFoundError("no weights were shipped with this package; give a path to a .safetensors file")


def resolve_weights(name_or_path: str | Path) -> Path:
    """Return the file of a shipped name or a path. Raises FileNotFoundError, with the shipped names."""
    shipped = SHIPPED_FOLDER / f"{name_or_path}.safetensors"
    if shipped.is_file():
        return shipped
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    raise FileNotFoundError(
        f"no model {str(name_or_path)!r}: shipped are {', '.join(shipped_models()) or 'none'}; "
        "or give the path of a .safetensors file written by `dytrack train`"
    )


def load_config(path: str | Path) -> DyTrackConfig:
    """Read the configuration in a weights file. Raises ValueError if this package did not write the file."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file ({error}); weights are written by `dytrack train`"
        ) from None
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} was not written by this package (format {metadata.get('format')!r}, expected {FORMAT!r}); "
            "to start training from a pretrained encoder use `dytrack train --encoder`"
        )
    return DyTrackConfig.from_dict(json.loads(metadata["config"]))


def model_card(weights: Path) -> dict[str, Any]:
    """Read the model card, the JSON file beside a weights file; empty if there is none."""
    card = weights.with_suffix(".json")
    facts: dict[str, Any] = json.loads(card.read_text()) if card.is_file() else {}
    return facts
