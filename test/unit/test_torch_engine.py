"""The torch engine's steps, which work in place, and CUDA graphs, which replace them if they answer alike."""

import numpy as np
import pytest
import torch
from engine_answers import SEARCHES, TEMPLATES
from random_network import lively_model

from dytrack_ros.engines.torch_engine import TorchEngine, TorchSteps, record_cuda_graphs

CROPS = TEMPLATES[0], SEARCHES[0]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
STEPS = ["template", "advance_1", "locate_1", "advance_2", "locate_2", "advance_3", "locate_3"]


def test_steps_leave_their_buffers_where_they_are():
    steps = TorchSteps(lively_model().fuse(), torch.device("cpu"), torch.float32)
    buffers = [value for value in vars(steps).values() if isinstance(value, torch.Tensor)]
    places = [buffer.data_ptr() for buffer in buffers]
    seen = set()
    for template, search in zip(TEMPLATES, SEARCHES[:2], strict=True):
        steps.template.copy_(torch.from_numpy(template))
        steps.search.copy_(torch.from_numpy(search))
        for step in steps.by_name().values():
            step()
        seen.add((steps.score.item(), *steps.heat_maps[:, 0, 0].tolist()))
    assert [buffer.data_ptr() for buffer in buffers] == places
    assert len(seen) == 2
    assert list(steps.by_name()) == STEPS


def test_recorded_steps_are_used_if_they_answer_alike(lively_weights, caplog):
    engine, used = TorchEngine(lively_weights, device="cpu"), []
    expected = engine.answers(*CROPS)

    def record(steps, device):
        assert device == torch.device("cpu")
        return {name: lambda name=name, step=step: (used.append(name), step()) for name, step in steps.items()}

    engine._use_recorded(record)
    used.clear()
    np.testing.assert_array_equal(engine.answers(*CROPS), expected)
    assert used == STEPS
    assert not caplog.text


def wrong_boxes(engine):
    def record(steps, _):
        def wrong():
            steps["locate_2"]()
            engine._buffers.heat_maps.fill_(-100.0)[:, 0, 0] = 0.0

        return steps | {"locate_2": wrong}

    return record


def nan_scores(engine):
    return lambda steps, _: steps | {"advance_3": lambda: engine._buffers.score.fill_(float("nan"))}


def refused(_):
    def record(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    return record


@pytest.mark.parametrize(
    ("fault", "said"), [(wrong_boxes, "differ by 0."), (nan_scores, "differ by nan"), (refused, "not permitted")]
)
def test_eager_steps_stay_if_recording_fails(lively_weights, caplog, fault, said):
    engine = TorchEngine(lively_weights, device="cpu")
    expected = engine.answers(*CROPS)
    engine._use_recorded(fault(engine))
    np.testing.assert_array_equal(engine.answers(*CROPS), expected)
    assert said in caplog.text and "CUDA graphs are not used" in caplog.text


@needs_gpu
def test_cuda_graphs_answer_as_eager_steps_and_as_the_cpu(lively_weights, caplog):
    recorded = TorchEngine(lively_weights, device="cuda")
    eager = TorchEngine(lively_weights, device="cuda", cuda_graphs=False)
    assert "CUDA graphs are not used" not in caplog.text
    for _ in range(3):
        np.testing.assert_allclose(recorded.answers(*CROPS), eager.answers(*CROPS), atol=2e-3)
    np.testing.assert_allclose(
        recorded.answers(*CROPS), TorchEngine(lively_weights, device="cpu").answers(*CROPS), atol=0.02
    )


@needs_gpu
def test_what_cannot_be_recorded_raises():
    value = torch.zeros(1, device="cuda")
    with pytest.raises(RuntimeError):
        record_cuda_graphs({"waits": lambda: value.item()}, torch.device("cuda"))
