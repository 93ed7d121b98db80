"""Weights on disk: this package's files, pretrained encoders, other crop sizes."""

import json

import pytest
import torch
from random_network import TINY, plain_vit, random_model
from torch.nn import functional as F

from dytrack_ros.model import DyTrack, DyTrackConfig, load_encoder, load_weights, save_weights
from dytrack_ros.model.vit import Block
from dytrack_ros.model.weight_files import load_config
from dytrack_ros.model.weights import resample_patch_embedding, resample_positions, with_search_region


def test_weights_survive_the_disk(tmp_path):
    model = random_model()
    path = save_weights(tmp_path / "m.safetensors", model, dtype=torch.float32)
    again = load_weights(path)
    assert again.config == model.config == load_config(path)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_narrower_search_region_and_back():
    model = random_model()
    narrow = with_search_region(model, 192, 3.0)
    assert narrow.config.search_tokens == 144 and narrow.embedding.search_position.shape == (1, 144, 48)
    assert narrow(torch.randn(1, 3, 128, 128), torch.randn(1, 3, 192, 192))[2].box.shape == (1, 4)
    assert torch.equal(narrow.blocks[5].attn.qkv.weight, model.blocks[5].attn.qkv.weight)
    smooth = torch.linspace(0, 1, 16).repeat(16)[None, :, None]
    there_and_back = resample_positions(resample_positions(smooth, 12), 16)
    assert (there_and_back - smooth).abs().max() < 0.03


def test_mae_layout_with_its_wrapper_and_decoder(tmp_path):
    state = plain_vit()
    torch.save(
        {"model": {**state, "mask_token": torch.zeros(1, 1, 48), "decoder_pred.bias": torch.zeros(3)}},
        tmp_path / "mae.pth",
    )
    model = DyTrack(TINY)
    load_encoder(model, tmp_path / "mae.pth")
    assert torch.equal(model.blocks[7].attn.qkv.weight, state["blocks.7.attn.qkv.weight"])
    assert torch.equal(model.decisioners[0].adapter[1].mlp.fc1.weight, state["blocks.3.mlp.fc1.weight"])
    assert torch.equal(model.embedding.patch_embed.proj.weight, state["patch_embed.proj.weight"])
    assert model.embedding.template_position.shape == (1, 64, 48)


def test_dinov2_layout_with_layer_scale_and_patches_of_14(tmp_path):
    state = plain_vit(patch=14, grid=37, layer_scale=True)
    torch.save(state, tmp_path / "dinov2.pth")
    model = DyTrack(TINY)
    load_encoder(model, tmp_path / "dinov2.pth")
    reference = Block(48, 3)
    scaled = {n.removeprefix("blocks.4."): v for n, v in state.items() if n.startswith("blocks.4.") and ".ls" not in n}
    reference.load_state_dict(scaled)
    tokens = torch.randn(1, 5, 48)
    with torch.no_grad():
        middle = tokens + state["blocks.4.ls1.gamma"] * reference.attn(reference.norm1(tokens))
        expected = middle + state["blocks.4.ls2.gamma"] * reference.mlp(reference.norm2(middle))
        torch.testing.assert_close(model.blocks[4](tokens), expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(model.embedding.iou_token, state["cls_token"] + state["pos_embed"][:, :1])
    assert model.embedding.patch_embed.proj.weight.shape == (48, 3, 16, 16)


def test_a_resized_patch_keeps_its_token():
    """Smooth patches: the resampled projection of the resized patch equals the projection of the patch."""
    torch.manual_seed(0)
    weight = torch.randn(8, 3, 14, 14)
    patch = F.interpolate(torch.randn(1, 3, 4, 4), size=(14, 14), mode="bicubic")
    resized = F.interpolate(patch, size=(16, 16), mode="bicubic", antialias=True)
    before = torch.einsum("oihw,bihw->o", weight, patch)
    after = torch.einsum("oihw,bihw->o", resample_patch_embedding(weight, 16), resized)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-2)


def test_unknown_layouts_are_refused_with_the_expected_keys(tmp_path):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"blocks\.0.*conv1\.weight"):
        load_encoder(DyTrack(TINY), tmp_path / "resnet.pth")
    others = {
        "attn.qkv.bias": {n: v for n, v in plain_vit().items() if n != "blocks.5.attn.qkv.bias"},
        "register_tokens": plain_vit() | {"register_tokens": torch.zeros(1, 4, 48)},
        "attn.q_norm.weight": plain_vit() | {"blocks.0.attn.q_norm.weight": torch.zeros(16)},
        "blocks.12.": plain_vit(depth=13),
        "square grid": plain_vit() | {"pos_embed": torch.zeros(1, 196, 48)},
    }
    for said, state in others.items():
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=said.replace(".", r"\.")):
            load_encoder(DyTrack(TINY), tmp_path / "other.pth")
    torch.save(plain_vit(width=32), tmp_path / "narrow.pth")
    with pytest.raises(ValueError, match="width 32"):
        load_encoder(DyTrack(TINY), tmp_path / "narrow.pth")


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_foreign_files_cannot_run_code(tmp_path, capsys):
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(Exception, match="[Ww]eights"):
        load_encoder(DyTrack(TINY), tmp_path / "evil.pth")
    assert "code ran" not in capsys.readouterr().out


def test_configurations_round_trip():
    config = DyTrackConfig(width=96, heads=3, recycling="d")
    assert DyTrackConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="unknown configuration keys"):
        DyTrackConfig.from_dict({"widht": 3})
