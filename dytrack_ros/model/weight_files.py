"""Which weights there are and what is written in them, without torch: names, paths, configuration, model card."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from dytrack_ros.model.presets import DyTrackConfig

SHIPPED_FOLDER = Path(__file__).resolve().parent.parent / "weights"
FORMAT = "dytrack_ros/1"


def shipped_models() -> list[str]:
    """Names of the models that came with the package."""
    return sorted(path.stem for path in SHIPPED_FOLDER.glob("*.safetensors"))


def default_model() -> str:
    """The name of the model that is used when none is asked for. Raises FileNotFoundError if none was shipped."""
    for name in ("dytrack_small", "dytrack_tiny", "dytrack_base"):
        if name in shipped_models():
            return name
    raise FileNotFoundError("no weights were shipped with this package; give a path to a .safetensors file")


def resolve_weights(name_or_path: str | Path) -> Path:
    """The file that a shipped name or a path stands for. Raises FileNotFoundError with what there is."""
    shipped = SHIPPED_FOLDER / f"{name_or_path}.safetensors"
    if shipped.is_file():
        return shipped
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    raise FileNotFoundError(
        f"no model {str(name_or_path)!r}: shipped are {', '.join(shipped_models()) or 'none'}; "
        "or give the path of a .safetensors file written by `train`"
    )


def load_config(path: str | Path) -> DyTrackConfig:
    """The configuration stored in a weights file. Raises ValueError if the file is not one of ours."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({error}); weights are written by `train`") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} was not written by this package (format {metadata.get('format')!r}, expected {FORMAT!r}); "
            "to start training from a foreign encoder use `train --encoder`"
        )
    return DyTrackConfig.from_dict(json.loads(metadata["config"]))


def model_card(weights: Path) -> dict:
    """What is known about a weights file: the JSON beside it, empty if there is none."""
    card = weights.with_suffix(".json")
    return json.loads(card.read_text()) if card.is_file() else {}
