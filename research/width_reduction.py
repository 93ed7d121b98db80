#!/usr/bin/env python3
"""Cuts a wide network to a narrow one of the same layers without a gradient step, by least squares for each layer.

1. Every reader of the residual stream normalises it first. So the stream can be rotated and cut to its principal
   directions (SliceGPT, Ashkboos et al., ICLR 2024). Here one projection serves all layers, and the narrow stream keeps
   a mean of zero, so that LayerNorm acts alike on both.
2. A layer with fewer heads and hidden units is fitted to the output of the wide layer (as in ThiNet, Luo et al., ICCV
   2017): heads and units are chosen, then the linear maps into and out of them are solved for. Each layer is fitted on
   the actual output of the narrow layers before it.

    tools/ros_env research/width_reduction.py --teacher wide.safetensors --data SHARDS --out start.safetensors

writes weights for ``dytrack train --init start.safetensors`` and ``start.projection.safetensors``, which
``--teacher wide.safetensors --projection start.projection.safetensors`` needs to compare tokens.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dytrack_ros.data.registry import DATA_HELP, open_data
from dytrack_ros.model.corner_head import RepVGGBlock
from dytrack_ros.model.decisioner import Decisioner
from dytrack_ros.model.dytrack import DyTrack, normalize
from dytrack_ros.model.presets import PRESETS, DyTrackConfig
from dytrack_ros.model.vit import LAYER_NORM_EPS, Attention, Block
from dytrack_ros.model.weights import load_weights, save_weights
from dytrack_ros.training.augmentation import PairAugmentation
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.sampling import PairSampler, PairStream

RIDGE = 1e-3
CHUNK = 16
UNITS_AT_ONCE = 8
FREE = ("width", "heads", "head_channels")  # what may differ between the two networks


@torch.no_grad()
def reduce_width(wide: DyTrack, config: DyTrackConfig, template: Tensor, search: Tensor) -> tuple[DyTrack, Tensor]:
    """Fits a network of ``config`` to ``wide`` on these crops.

    ``template`` (N, 3, Tz, Tz) and ``search`` (N, 3, Tx, Tx) are some hundred normalised crops. The score MLPs keep
    their initial output of 0.5: a crop has a single IoU token, too few to fit them. Fuses ``wide`` in place. Returns
    the network and the projection (C, c) from the wide tokens to the narrow ones.

    Raises ValueError if the two differ in more than width, heads and the channels of the box heads.
    """
    _check_alike(wide.config, config)
    wide = wide.eval().fuse()
    narrow = DyTrack(config).eval()
    projection = _projection(_normalised_covariance(wide, template, search), config.width)
    _project_embedding(wide, narrow, projection)
    x = _in_chunks(wide.embedding, template, search)
    y = _in_chunks(narrow.embedding, template, search)
    recycled: tuple[Tensor, Tensor] | None = None
    with tqdm(total=config.depth + sum(config.adapters), desc="reducing the width", unit="layer") as bar:
        for position in range(wide.exit_count):
            for a, b in zip(wide.stage_blocks(position), narrow.stage_blocks(position), strict=True):
                x, y = _fit_block(a, b, x, y, projection)
                bar.update()
            a, b = wide.decisioners[position], narrow.decisioners[position]
            recycled = _fit_decisioner(a, b, x, y, recycled, projection, bar.update)
            _fit_heads(wide, narrow, position, *recycled)
    return narrow, projection


def _check_alike(wide: DyTrackConfig, narrow: DyTrackConfig) -> None:
    a, b = ({name: value for name, value in c.to_dict().items() if name not in FREE} for c in (wide, narrow))
    different = sorted(name for name in a if a[name] != b[name])
    if different:
        raise ValueError(
            f"a network can only be reduced to one that differs in {', '.join(FREE)}; "
            f"these differ in {', '.join(different)}"
        )
    if wide.recycling not in ("none", "b"):
        raise ValueError(f"recycling {wide.recycling!r} cannot be reduced; only none and b can")


# --- the stream ------------------------------------------------------------------------------------------------------


def _normalised_covariance(wide: DyTrack, template: Tensor, search: Tensor) -> Tensor:
    """Mean over all LayerNorms of the second moments (C, C) of their normalised tokens."""
    width = wide.config.width
    covariance = torch.zeros(width, width)

    def add(_: nn.Module, inputs: tuple[Tensor]) -> None:
        tokens = _normalised(inputs[0]).reshape(-1, width)
        covariance.add_(tokens.T @ tokens / len(tokens))

    hooks = [m.register_forward_pre_hook(add) for m in wide.modules() if isinstance(m, nn.LayerNorm)]
    for start in range(0, len(template), CHUNK):
        wide(template[start : start + CHUNK], search[start : start + CHUNK])
    for hook in hooks:
        hook.remove()
    return covariance


def _projection(covariance: Tensor, narrow_width: int) -> Tensor:
    """(C, c): centres, keeps the c - 1 strongest directions, and rotates them to a mean over channels of 0."""
    wide_width = len(covariance)
    strongest = torch.linalg.eigh(covariance.double())[1][:, 1 - narrow_width :]
    centre = torch.eye(narrow_width, dtype=torch.float64) - 1 / narrow_width
    of_zero_mean = torch.linalg.svd(centre)[0][:, : narrow_width - 1]
    centred = strongest - strongest.mean(0)
    return (centred @ of_zero_mean.T * (narrow_width / wide_width) ** 0.5).float()


def _project_embedding(wide: DyTrack, narrow: DyTrack, projection: Tensor) -> None:
    a, b = wide.embedding, narrow.embedding
    b.patch_embed.proj.weight.copy_(torch.einsum("oihw,oc->cihw", a.patch_embed.proj.weight, projection))
    b.patch_embed.proj.bias.copy_(a.patch_embed.proj.bias @ projection)
    for name in ("iou_token", "template_position", "search_position"):
        getattr(b, name).copy_(getattr(a, name) @ projection)


# --- layers ----------------------------------------------------------------------------------------------------------


def _fit_block(wide: Block, narrow: Block, x: Tensor, y: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    """Fits one transformer layer on wide tokens x (N, T, C) and narrow ones y (N, T, c); returns the output of both."""
    x, y = _fit_attention(wide, narrow, x, y, projection)
    return _fit_mlp(wide, narrow, x, y, projection)


def _fit_attention(wide: Block, narrow: Block, x: Tensor, y: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    size = wide.attn.proj.in_features // wide.attn.heads
    seen = wide.norm1(x)
    mixed = _in_chunks(lambda part: _mixed_values(wide.attn, part), seen)
    x = x + wide.attn.proj(mixed)
    weight, target = _relative(x), _flat(x @ projection - y)
    gram, cross = _moments(_flat(mixed), target, weight)
    chosen = max(
        (
            torch.cat([torch.arange(h * size, (h + 1) * size) for h in heads])
            for heads in itertools.combinations(range(wide.attn.heads), narrow.attn.heads)
        ),
        key=lambda units: _explained(gram[units][:, units], cross[units]),
    )
    wanted = _in_chunks(wide.attn.qkv, seen).unflatten(-1, (3, -1))[..., chosen].flatten(-2)
    normalised = _normalised(y)
    _solve(narrow.attn.qkv, _flat(normalised), _flat(wanted))
    mixed = _in_chunks(lambda part: _mixed_values(narrow.attn, part), normalised)
    _solve(narrow.attn.proj, _flat(mixed), target, weight)
    return x, y + narrow.attn.proj(mixed)


def _fit_mlp(wide: Block, narrow: Block, x: Tensor, y: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    before = _in_chunks(lambda part: wide.mlp.fc1(wide.norm2(part)), x)
    hidden = F.gelu(before)
    x = x + _in_chunks(wide.mlp.fc2, hidden)
    weight, target = _relative(x), _flat(x @ projection - y)
    chosen = _choose_units(*_moments(_flat(hidden), target, weight, centred=True), narrow.mlp.fc1.out_features)
    del hidden
    normalised = _normalised(y)
    _solve(narrow.mlp.fc1, _flat(normalised), _flat(before[..., chosen]))
    hidden = F.gelu(narrow.mlp.fc1(normalised))
    _solve(narrow.mlp.fc2, _flat(hidden), target, weight)
    return x, y + narrow.mlp.fc2(hidden)


def _mixed_values(attention: Attention, tokens: Tensor) -> Tensor:
    """Input of the attention's output projection, (N, T, heads * size)."""
    query, key, value = attention.qkv(tokens).unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _fit_decisioner(
    wide: Decisioner,
    narrow: Decisioner,
    x: Tensor,
    y: Tensor,
    recycled: tuple[Tensor, Tensor] | None,
    projection: Tensor,
    advance: Callable[[], object],
) -> tuple[Tensor, Tensor]:
    if wide.recycling is not None:
        x, y = wide.recycling.before(x, recycled[0]), narrow.recycling.before(y, recycled[1])
    for a, b in zip(wide.adapter, narrow.adapter, strict=True):
        x, y = _fit_block(a, b, x, y, projection)
        advance()
    x = wide.projection(x)
    _solve(narrow.projection, _flat(y), _flat(x @ projection), _relative(x))
    return x, narrow.projection(y)


# --- box heads -------------------------------------------------------------------------------------------------------


def _fit_heads(wide: DyTrack, narrow: DyTrack, position: int, x: Tensor, y: Tensor) -> None:
    grid = wide.config.search_grid
    maps = [
        network.search_features(position, tokens).transpose(1, 2).unflatten(2, (grid, grid))
        for network, tokens in ((wide, x), (narrow, y))
    ]
    for corner in ("top_left", "bottom_right"):
        _fit_tower(getattr(wide.heads[position], corner), getattr(narrow.heads[position], corner), *maps)


def _fit_tower(wide: nn.Sequential, narrow: nn.Sequential, x: Tensor, y: Tensor) -> None:
    """Fits one corner's blocks on the wide feature map x (N, C, H, W) and the narrow one y (N, c, H, W)."""
    readers = [block.fused for block in wide[1:-1]] + [wide[-1]]
    for a, b, reader in zip(wide[:-1], narrow[:-1], readers, strict=True):
        before = _in_chunks(a.fused, x)
        x = F.relu(before)
        importance = reader.weight.square().sum((0, 2, 3)) * x.square().mean((0, 2, 3))
        chosen = importance.topk(b.dense.conv.out_channels).indices.sort().values
        y = _fit_convolution(b, y, before[:, chosen])
    _solve(narrow[-1], _pixels(y), _pixels(_in_chunks(wide[-1], x)))


def _fit_convolution(narrow: RepVGGBlock, y: Tensor, wanted: Tensor) -> Tensor:
    """Fits the 3x3 branch so that y (N, c, H, W) gives ``wanted`` before the ReLU; the 1x1 branch starts at 0."""
    patches = F.unfold(y, 3, padding=1).transpose(1, 2).flatten(0, 1)
    weight, bias = _least_squares(patches, _pixels(wanted))
    conv, norm = narrow.dense.conv, narrow.dense.norm
    conv.weight.copy_(weight.view_as(conv.weight))
    without_bias = patches @ weight.T
    mean, variance = without_bias.mean(0), without_bias.var(0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(torch.sqrt(variance + norm.eps))
    norm.bias.copy_(mean + bias)
    narrow.pointwise.norm.weight.zero_()
    fitted = (without_bias + bias).view(len(y), -1, len(bias)).transpose(1, 2)
    return F.relu(fitted.view_as(wanted))


def _pixels(feature_map: Tensor) -> Tensor:
    """(N, C, H, W) to (N * H * W, C)."""
    return feature_map.flatten(2).transpose(1, 2).flatten(0, 1)


# --- least squares ---------------------------------------------------------------------------------------------------


def _solve(layer: nn.Linear | nn.Conv2d, inputs: Tensor, wanted: Tensor, weight: Tensor | None = None) -> None:
    """Sets a linear layer or 1x1 convolution to the least squares map from inputs (n, i) to wanted (n, o)."""
    matrix, bias = _least_squares(inputs, wanted, weight)
    layer.weight.copy_(matrix.view_as(layer.weight))
    layer.bias.copy_(bias)


def _least_squares(inputs: Tensor, wanted: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Matrix (o, i) and bias (o,) of the ridge regression of wanted (n, o) on inputs (n, i), samples weighted (n,)."""
    weight = torch.ones(len(inputs)) if weight is None else weight
    share = weight / weight.sum()
    mean_in, mean_out = share @ inputs, share @ wanted
    gram, cross = _moments(inputs, wanted, weight, centred=True)
    matrix = torch.linalg.solve(_ridged(gram), cross).T.float()
    return matrix, mean_out - matrix @ mean_in


def _moments(inputs: Tensor, wanted: Tensor, weight: Tensor, centred: bool = False) -> tuple[Tensor, Tensor]:
    """Weighted second moments (i, i) of the inputs and (i, o) with what is wanted, in double precision."""
    share = (weight / weight.sum())[:, None]
    if centred:
        inputs, wanted = inputs - (share * inputs).sum(0), wanted - (share * wanted).sum(0)
    scaled = inputs * share
    return (scaled.T @ inputs).double(), (scaled.T @ wanted).double()


def _ridged(gram: Tensor) -> Tensor:
    # Never 0, even if all inputs are constant, as behind a ReLU that never opens.
    return gram + (RIDGE * gram.diagonal().mean()).clamp(min=1e-9) * torch.eye(len(gram), dtype=gram.dtype)


def _explained(gram: Tensor, cross: Tensor) -> float:
    """How much of the targets' squares these inputs explain."""
    return float((cross * torch.linalg.solve(_ridged(gram), cross)).sum())


def _choose_units(gram: Tensor, cross: Tensor, count: int) -> Tensor:
    """Chooses ``count`` inputs that explain the targets best together, greedily (orthogonal matching)."""
    gram, cross = _ridged(gram), cross.clone()
    free = torch.ones(len(gram), dtype=torch.bool)
    for start in range(0, count, UNITS_AT_ONCE):
        gain = cross.square().sum(1) / gram.diagonal().clamp(min=1e-12)
        best = gain.where(free, -1.0).topk(min(UNITS_AT_ONCE, count - start)).indices
        free[best] = False
        # The residual of all others after regression on these.
        factor = torch.linalg.cholesky(gram[best][:, best])
        rows = torch.linalg.solve_triangular(factor, gram[best], upper=False)
        cross -= rows.T @ torch.linalg.solve_triangular(factor, cross[best], upper=False)
        gram -= rows.T @ rows
    return (~free).nonzero()[:, 0]


def _relative(tokens: Tensor) -> Tensor:
    """Weights (N * T,) that make errors relative to the tokens' size, as LayerNorm does."""
    return 1 / (tokens - tokens.mean(-1, keepdim=True)).square().mean(-1).clamp(min=1e-8).flatten()


def _normalised(tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:], eps=LAYER_NORM_EPS)


def _flat(tokens: Tensor) -> Tensor:
    return tokens.flatten(0, 1)


def _in_chunks(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    return torch.cat([function(*parts) for parts in zip(*(tensor.split(CHUNK) for tensor in tensors), strict=True)])


# --- the command -----------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--teacher", required=True, help="the wide weights")
    p.add_argument("--model", choices=PRESETS, default="dytrack_tiny", help="preset of the narrow network")
    p.add_argument("--data", nargs="+", required=True, help=DATA_HELP)
    p.add_argument("--pairs", type=int, default=256, help="pairs that the layers are fitted on")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, required=True, help="the narrow weights, a .safetensors file")
    return p


def training_crops(data: list[str], config: DyTrackConfig, pairs: int, seed: int) -> tuple[Tensor, Tensor]:
    """Normalised templates and search regions of at least ``pairs`` training pairs."""
    dataset = open_data(data)
    augmentation = PairAugmentation(ImageBank.pack([]), config, seed=seed)
    stream = PairStream(dataset, PairSampler(dataset, seed), augmentation.views(), "cpu", threads=2)
    batches = [augmentation(stream.batch(step, CHUNK), step) for step in range(math.ceil(pairs / CHUNK))]
    stream.close()
    template, search = (torch.cat(crops) for crops in zip(*((b.template, b.search) for b in batches), strict=True))
    return normalize(template), normalize(search)


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    wide, narrow = load_weights(args.teacher), PRESETS[args.model]
    shape = wide.config.to_dict() | {name: getattr(narrow, name) for name in FREE}
    config = DyTrackConfig.from_dict(shape)
    model, projection = reduce_width(wide, config, *training_crops(args.data, config, args.pairs, args.seed))
    save_weights(args.out, model)
    save_file({"projection": projection.contiguous()}, args.out.with_suffix(".projection.safetensors"))
    print(f"wrote {args.out} and {args.out.with_suffix('.projection.safetensors')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
