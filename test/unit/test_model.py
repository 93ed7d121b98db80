"""The network against the paper: exits, recycling, decisioners, heads, sizes."""

import pytest
import torch
from random_network import random_model

from dytrack_ros.model import DyTrack, preset
from dytrack_ros.model.corner_head import CornerHead, RepVGGBlock
from dytrack_ros.model.dytrack import normalize
from dytrack_ros.model.presets import RECYCLING_SCHEMAS, DyTrackConfig
from dytrack_ros.training.distillation import ImitationAttention, SelfDistillation


def crops(batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 128, 128, generator=generator), torch.randn(batch, 3, 256, 256, generator=generator)


def with_recycling(schema):
    return random_model(DyTrackConfig(width=48, heads=3, head_channels=16, recycling=schema))


@torch.inference_mode()
def test_exits_reached_step_by_step_equal_the_full_forward():
    model = random_model()
    template, search = crops()
    outputs = model(template, search)
    tokens, recycled = model.embedding(template, search), None
    assert tokens.shape == (2, 1 + 64 + 256, 48)
    for position, output in enumerate(outputs):
        tokens = model.stage(position, tokens)
        recycled, score = model.decide(position, tokens, recycled)
        torch.testing.assert_close(score, output.score)
        torch.testing.assert_close(model.locate(position, recycled), output.box)
    assert len(outputs) == 3


@torch.inference_mode()
def test_encoder_tokens_do_not_depend_on_the_adapters():
    model = random_model()
    template, search = crops()
    h_before, r_before = tokens_at_last_exit(model, template, search)
    for parameter in model.decisioners[:2].parameters():
        parameter.normal_()
    h_after, r_after = tokens_at_last_exit(model, template, search)
    assert torch.equal(h_before, h_after)
    assert not torch.allclose(r_before, r_after), "recycling must carry the earlier decisioners' change forward"


def tokens_at_last_exit(model, template, search):
    h, r = model.embedding(template, search), None
    for position in range(model.exit_count):
        h = model.stage(position, h)
        r, _ = model.decide(position, h, r)
    return h, r


@torch.inference_mode()
def test_each_recycling_schema_is_what_it_says():
    h, r = torch.randn(2, 321, 48), torch.randn(2, 321, 48)
    plain = with_recycling("none").decisioners[1]
    alone, _ = plain(h)
    for schema in RECYCLING_SCHEMAS:
        decisioner = with_recycling(schema).decisioners[1]
        decisioner.load_state_dict(plain.state_dict(), strict=False)
        recycled, _ = decisioner(h, r)
        if schema == "none":
            torch.testing.assert_close(recycled, alone)
        elif schema == "a":
            torch.testing.assert_close(recycled, alone + r)
        elif schema == "b":
            torch.testing.assert_close(recycled, plain(h + r)[0])
        elif schema == "c":
            mixed = torch.cat([h, r], -1) @ decisioner.recycling.mix.weight.T + decisioner.recycling.mix.bias
            torch.testing.assert_close(recycled, plain(mixed)[0])
        else:
            gate = torch.sigmoid(decisioner.recycling.mix(torch.cat([h, r], -1)))
            assert 0 < gate.min() and gate.max() < 1
            torch.testing.assert_close(recycled, plain(h + gate * r)[0])
        if schema != "none":
            assert not torch.allclose(recycled, alone)


@pytest.mark.parametrize("schema", RECYCLING_SCHEMAS)
def test_gradients_reach_every_parameter(schema):
    model = with_recycling(schema).train()
    distillation = SelfDistillation("target_aware", 48, 256, 3)
    outputs = model(*crops())
    loss = sum(output.box.square().sum() + output.score.sum() for output in outputs)
    loss = loss + distillation([output.features for output in outputs])
    loss.backward()
    # Rounding alone gives gradients too: a parameter counts as reached above a share of the largest gradient.
    named = [*model.named_parameters(), *distillation.named_parameters()]
    # The logit's bias cancels in a softmax, so these alone may have none worth the name.
    shift_invariant = ("top_left.4.bias", "bottom_right.4.bias", "channel_conv.bias")
    largest = max(p.grad.abs().max() for _, p in named if p.grad is not None)
    silent = [name for name, p in named if p.grad is None or p.grad.abs().max() < 1e-7 * largest]
    assert not [name for name in silent if not name.endswith(shift_invariant)]


@torch.inference_mode()
@pytest.mark.parametrize(("channels_in", "channels_out"), [(12, 12), (12, 8)])
def test_repvgg_fusion_is_exact(channels_in, channels_out):
    torch.manual_seed(0)
    block = RepVGGBlock(channels_in, channels_out)
    assert (block.identity is not None) == (channels_in == channels_out)
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.normal_()
            module.bias.normal_()
    block.eval()
    features = torch.randn(2, channels_in, 16, 16)
    expected = block(features)
    block.fuse()
    assert (block(features) - expected).abs().max() < 1e-4
    assert [type(module) for module in block.children()] == [torch.nn.Conv2d]


@torch.inference_mode()
def test_corner_head_finds_the_centre_of_the_cell_that_lights_up():
    head = CornerHead(8, 8).eval()
    heat = torch.zeros(1, 16, 16)
    heat[0, 3, 11] = 1
    x, y = head._expectation(heat)[0].tolist()
    assert (x, y) == (11.5 / 16, 3.5 / 16)
    probability = head.log_heat_maps(torch.randn(2, 8, 16, 16)).exp()
    assert probability.shape == (2, 2, 16, 16)
    torch.testing.assert_close(probability.sum((2, 3)), torch.ones(2, 2))


def hand_counted_parameters(c: DyTrackConfig) -> int:
    w, d = c.width, c.head_channels
    layer = (3 * w * w + 3 * w) + (w * w + w) + (4 * w * w + 4 * w) + (4 * w * w + w) + 2 * 2 * w
    embedding = 3 * c.patch_size**2 * w + w + w * (1 + c.template_tokens + c.search_tokens)
    decisioner = 2 * w + (w * w + w) + 2 * (w * w + w) + (w + 1)
    tower = 0
    for a, b in [(w, d), (d, d // 2), (d // 2, d // 4), (d // 4, d // 8)]:
        tower += 9 * a * b + a * b + 2 * 2 * b + (2 * b if a == b else 0)
    tower += d // 8 + 1
    layers = c.depth + sum(c.adapters)
    return embedding + layers * layer + len(c.exits) * (decisioner + 2 * tower)


@pytest.mark.parametrize(
    ("name", "parameters_m"), [("dytrack_tiny", 8.2), ("dytrack_small", 31.4), ("dytrack_base", 125.6)]
)
def test_parameter_counts_by_hand(name, parameters_m):
    config = preset(name, recycling="none")
    with torch.device("meta"):
        model = DyTrack(config)
    counted = sum(p.numel() for p in model.parameters())
    assert counted == hand_counted_parameters(config)
    assert counted / 1e6 == pytest.approx(parameters_m, rel=0.1)


def test_normalize_takes_bytes_to_imagenet_units():
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
    assert normalize(mean.expand(1, 3, 4, 4)).abs().max() < 1e-5
    assert normalize(mean + 0.224 * 255)[0, 1, 0, 0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exits": (2, 6, 11)}, "depth"),
        ({"adapters": (2, 1)}, "adapters"),
        ({"recycling": "e"}, "recycling"),
        ({"heads": 5}, "heads"),
        ({"search_size": 250}, "patch"),
    ],
)
def test_impossible_configurations_are_refused_with_the_reason(changes, said):
    with pytest.raises(ValueError, match=said):
        preset("dytrack_small", **changes)


def test_imitation_attention_reweights_the_student_by_the_teacher():
    torch.manual_seed(0)
    attention = ImitationAttention(8, 16)
    student, teacher = torch.randn(2, 16, 8), torch.randn(2, 16, 8)
    ratio = attention(student, teacher) / student
    assert 0 < ratio.min() and ratio.max() < 1
    # Spatial map times channel attention: the ratio is of rank one over (positions, channels).
    assert torch.linalg.matrix_rank(ratio[0], rtol=1e-4) == 1
    assert not torch.allclose(ratio[0], ratio[1]), "the attention must come from the teacher"


def test_the_spatial_map_matters_to_the_imitation_loss():
    torch.manual_seed(0)
    distillation = SelfDistillation("target_aware", 8, 16, 2)
    features = [torch.randn(2, 16, 8), torch.randn(2, 16, 8)]
    before = distillation(features)
    with torch.no_grad():
        distillation.attention[0].spatial_linear.bias[:8] += 3
    assert abs(distillation(features) - before) > 1e-3


def test_distillation_modes():
    features = [torch.randn(2, 256, 8, requires_grad=True) for _ in range(3)]
    assert SelfDistillation("off", 8, 256, 3)(features) == 0
    plain = SelfDistillation("plain", 8, 256, 3)
    same = features[2].detach()
    assert plain([same, same, same]) == pytest.approx(0, abs=1e-6)
    assert plain([-same, same, same]) == pytest.approx(1, abs=1e-6)
    plain(features, students=[1]).backward()
    assert features[0].grad is None and features[1].grad is not None, "only the students that learn imitate"
    assert plain(features, students=[2]) == 0
    SelfDistillation("target_aware", 8, 256, 3)(features).backward()
    assert features[0].grad is not None and features[2].grad is None, "the teacher is not taught"
    with pytest.raises(ValueError, match="off, plain, target_aware"):
        SelfDistillation("strong", 8, 256, 3)
