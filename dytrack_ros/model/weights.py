"""Weights on disk: this package's safetensors files, and pretrained encoders to start training from.

No file read here can run code: safetensors hold only arrays, and ``.pth`` files are opened with ``weights_only=True``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from dytrack_ros.model.decisioner import Decisioner
from dytrack_ros.model.dytrack import DyTrack
from dytrack_ros.model.presets import DyTrackConfig
from dytrack_ros.model.vit import Block
from dytrack_ros.model.weight_files import FORMAT, load_config, resolve_weights


def save_weights(path: str | Path, model: DyTrack, dtype: torch.dtype = torch.float16) -> Path:
    """Write the network and its configuration; ``dtype`` is that of the floating-point arrays on disk."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    partial = path.with_suffix(".partial")
    save_file(arrays, partial, metadata={"format": FORMAT, "config": json.dumps(model.config.to_dict())})
    partial.replace(path)
    return path


def load_weights(name_or_path: str | Path) -> DyTrack:
    """Load the network of a shipped name or a file, in fp32 and evaluation mode."""
    path = resolve_weights(name_or_path)
    model = DyTrack(load_config(path))
    model.load_state_dict({name: _widened(value) for name, value in load_file(path).items()})
    return model.eval()


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


# --- pretrained encoders ---------------------------------------------------------------------------------------------


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the arrays of a ``.safetensors`` or ``.pth`` file in fp32.

    They may be in a dictionary under ``model``, ``state_dict`` or ``teacher``.
    """
    path = Path(path)
    state: Any = load_file(path) if path.suffix == ".safetensors" else None
    if state is None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for wrapper in ("model", "state_dict", "teacher"):
            if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
                state = state[wrapper]
    return {name: _widened(value) for name, value in state.items() if isinstance(value, Tensor)}


def load_encoder(model: DyTrack, path: str | Path) -> None:
    """Load a pretrained plain ViT, in the key layout of timm, MAE and DINOv2, into the encoder of ``model``.

    DINOv2's LayerScale (``ls1.gamma``, ``ls2.gamma``) is folded into the preceding projections. Patch embedding and
    position embedding are resampled if their sizes differ. The class token becomes the IoU token. Each exit's adapter
    starts as the encoder layers after the exit.

    Raises:
        ValueError: the file has another layout (with the keys expected) or other sizes.
    """
    state = {name.removeprefix("module.").removeprefix("backbone."): v for name, v in read_state(path).items()}
    config = model.config
    _fold_layer_scale(state)
    _check_layout(state, config, path)

    layers: list[dict[str, Tensor]] = [{} for _ in range(config.depth)]
    for name, value in state.items():
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            layers[int(number)][rest] = value
    for block, layer in zip(model.blocks, layers, strict=True):
        block.load_state_dict(layer)
    for decisioner, exit_layer in zip(model.decisioners, config.exits, strict=True):
        for block, layer in zip(cast(Decisioner, decisioner).adapter, layers[exit_layer:], strict=False):
            block.load_state_dict(layer)

    embedding = model.embedding
    with torch.no_grad():
        embedding.patch_embed.proj.weight.copy_(
            resample_patch_embedding(state["patch_embed.proj.weight"], config.patch_size)
        )
        bias = embedding.patch_embed.proj.bias
        assert bias is not None
        bias.copy_(state["patch_embed.proj.bias"])
        embedding.iou_token.copy_(state["cls_token"] + state["pos_embed"][:, :1])
        embedding.template_position.copy_(_position_grid(state, config.template_grid))
        embedding.search_position.copy_(_position_grid(state, config.search_grid))


def _check_layout(state: Mapping[str, Tensor], config: DyTrackConfig, path: str | Path) -> None:
    block_keys = [f"blocks.{number}.{name}" for number in range(config.depth) for name in Block(8, 1).state_dict()]
    expected = {"patch_embed.proj.weight", "patch_embed.proj.bias", "cls_token", "pos_embed", *block_keys}
    missing = sorted(expected - set(state))
    unexpected = sorted(n for n in state if n not in expected and n.startswith(("blocks.", "register_tokens")))
    if missing or unexpected:
        raise ValueError(
            f"{path} is no plain ViT of depth {config.depth} in the layout of timm, MAE or DINOv2 without registers: "
            f"it lacks {missing[:12]} and has {unexpected[:12] or sorted(state)[:12]}"
        )
    width = state["cls_token"].shape[-1]
    if width != config.width:
        raise ValueError(f"{path} has width {width}, the model {config.width}: choose the preset of that width")
    positions = state["pos_embed"].shape[1] - 1
    if round(positions**0.5) ** 2 != positions:
        raise ValueError(f"{path} has {positions + 1} position embeddings: expected the class and a square grid")


def _fold_layer_scale(state: dict[str, Tensor]) -> None:
    for name in [key for key in state if key.endswith((".ls1.gamma", ".ls2.gamma"))]:
        gamma = state.pop(name)
        block, scale, _ = name.rsplit(".", 2)
        target = f"{block}.attn.proj" if scale == "ls1" else f"{block}.mlp.fc2"
        state[f"{target}.weight"] = state[f"{target}.weight"] * gamma[:, None]
        state[f"{target}.bias"] = state[f"{target}.bias"] * gamma


def resample_patch_embedding(weight: Tensor, size: int) -> Tensor:
    """Resample a patch projection (C, 3, p, p) for patches of side ``size``, so that a resized patch keeps its token.

    The projection is multiplied by the pseudo-inverse of the resizing of images (FlexiViT, Beyer et al., CVPR 2023,
    Section 3.4).
    """
    old = weight.shape[-1]
    if old == size:
        return weight
    basis = torch.eye(old * old).view(old * old, 1, old, old)
    resize = F.interpolate(basis, size=(size, size), mode="bicubic", antialias=True).view(old * old, size * size)
    pseudo_inverse = torch.linalg.pinv(resize)
    resampled: Tensor = weight.flatten(2) @ pseudo_inverse.T
    return resampled.view(*weight.shape[:2], size, size)


def _position_grid(state: Mapping[str, Tensor], grid: int) -> Tensor:
    """Return position embeddings (1, grid * grid, C): those in the file for this grid, else resampled ones."""
    ready = state.get(f"pos_embed_grid{grid}")
    if ready is not None:
        return ready.reshape(1, grid * grid, -1)
    return resample_positions(state["pos_embed"][:, 1:], grid)


def resample_positions(positions: Tensor, grid: int) -> Tensor:
    """Resample position embeddings (1, n * n, C) of a square grid to (1, grid * grid, C)."""
    old = round(positions.shape[1] ** 0.5)
    if old == grid:
        return positions
    square = positions.transpose(1, 2).reshape(1, -1, old, old)
    resampled = F.interpolate(square, size=(grid, grid), mode="bicubic", antialias=True)
    return resampled.flatten(2).transpose(1, 2)


def with_search_region(model: DyTrack, size: int, factor: float, template_size: int | None = None) -> DyTrack:
    """Return the network for other crops, with resampled position embeddings.

    Args:
        model: the network; it is not changed.
        size: new side of the search region in pixels.
        factor: new side of the search region in target sides.
        template_size: new side of the template in pixels; None: as before.
    """
    config = replace(
        model.config,
        search_size=size,
        search_factor=factor,
        template_size=template_size or model.config.template_size,
    )
    state = model.state_dict()
    for name, grid in (("template_position", config.template_grid), ("search_position", config.search_grid)):
        state[f"embedding.{name}"] = resample_positions(state[f"embedding.{name}"], grid)
    resized = DyTrack(config)
    resized.load_state_dict(state)
    return resized
