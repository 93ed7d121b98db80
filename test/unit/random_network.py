"""Small networks with random weights, for tests in which accuracy is not the question."""

import torch

from dytrack_ros.model import DyTrack, DyTrackConfig

TINY = DyTrackConfig(width=48, heads=3, head_channels=16)
MINIATURE = DyTrackConfig(
    width=16, depth=3, heads=2, exits=(1, 2, 3), adapters=(1, 1, 0), head_channels=8, template_size=32, search_size=64
)
"""Nothing of the paper's but three exits: a training step takes milliseconds."""


def random_model(config: DyTrackConfig = TINY, seed: int = 0) -> DyTrack:
    """A network with random weights, none of them (batch-norm statistics, score layers) at its trivial start."""
    torch.manual_seed(seed)
    model = DyTrack(config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    for decisioner in model.decisioners:
        torch.nn.init.normal_(decisioner.iou_mlp[-1].weight)
    return model.eval()


def lively_model(config: DyTrackConfig = TINY, seed: int = 0) -> DyTrack:
    """Random weights whose answers depend so strongly on both crops that agreement means something."""
    model = random_model(config, seed)
    with torch.no_grad():
        for layer in [*model.blocks, *(layer for decisioner in model.decisioners for layer in decisioner.adapter)]:
            layer.attn.qkv.weight *= 10
            layer.attn.proj.weight *= 5
        for head in model.heads:
            head.top_left[-1].weight *= 10
            head.bottom_right[-1].weight *= 10
    return model


def plain_vit(width=48, depth=12, patch=16, grid=14, layer_scale=False):
    """A state dict in the layout of timm and MAE; with LayerScale, DINOv2's."""
    torch.manual_seed(0)
    state = {
        "cls_token": torch.randn(1, 1, width),
        "pos_embed": torch.randn(1, 1 + grid * grid, width),
        "patch_embed.proj.weight": torch.randn(width, 3, patch, patch),
        "patch_embed.proj.bias": torch.randn(width),
        "norm.weight": torch.randn(width),
        "norm.bias": torch.randn(width),
    }
    for n in range(depth):
        for part, shape in [("attn.qkv", (3, 1)), ("attn.proj", (1, 1)), ("mlp.fc1", (4, 1)), ("mlp.fc2", (1, 4))]:
            state[f"blocks.{n}.{part}.weight"] = torch.randn(shape[0] * width, shape[1] * width)
            state[f"blocks.{n}.{part}.bias"] = torch.randn(shape[0] * width)
        for part in ("norm1", "norm2"):
            state[f"blocks.{n}.{part}.weight"], state[f"blocks.{n}.{part}.bias"] = (
                torch.randn(width),
                torch.randn(width),
            )
        if layer_scale:
            state[f"blocks.{n}.ls1.gamma"], state[f"blocks.{n}.ls2.gamma"] = torch.rand(width), torch.rand(width)
    return state
