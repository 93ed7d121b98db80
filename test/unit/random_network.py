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
