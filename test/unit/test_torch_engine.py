"""The torch engine's steps, which work in place, and what becomes of them where they are recorded."""

import numpy as np
import pytest
import torch
from random_network import lively_model

from dytrack_ros.engines.cuda_graphs import record
from dytrack_ros.engines.onnx_graphs import reference_crop
from dytrack_ros.engines.torch_engine import TorchEngine
from dytrack_ros.engines.torch_steps import TorchSteps
from dytrack_ros.model import save_weights

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights") / "lively.safetensors", lively_model())


def answers(engine):
    engine.set_template(reference_crop(engine.template_size)[::-1])
    engine.begin(reference_crop(engine.search_size)[:, ::-1])
    return np.array([[engine.advance(), *engine.locate()] for _ in range(engine.exit_count)])


def test_steps_leave_their_buffers_where_they_are():
    steps = TorchSteps(lively_model().fuse(), torch.device("cpu"), torch.float32)
    buffers = [value for value in vars(steps).values() if isinstance(value, torch.Tensor)]
    buffers += [steps.template.pixels, steps.search.pixels]
    places = [buffer.data_ptr() for buffer in buffers]
    seen = set()
    for seed in range(2):
        rng = np.random.default_rng(seed)
        steps.template.take(rng.integers(0, 256, (128, 128, 3), np.uint8))
        steps.search.take(rng.integers(0, 256, (256, 256, 3), np.uint8))
        for step in steps.by_name().values():
            step()
        seen.add((steps.score.item(), *steps.box.tolist()))
    assert [buffer.data_ptr() for buffer in buffers] == places
    assert len(seen) == 2
    assert list(steps.by_name()) == [
        "template",
        "advance_1",
        "locate_1",
        "advance_2",
        "locate_2",
        "advance_3",
        "locate_3",
    ]


def test_recorded_steps_are_used_where_they_answer_alike(weights, caplog):
    engine, used = TorchEngine(weights, "cpu"), []
    expected = answers(engine)

    def recorder(steps, device):
        assert device == torch.device("cpu")
        return {name: lambda name=name, step=step: (used.append(name), step()) for name, step in steps.items()}

    engine._use_recorded(recorder)
    used.clear()
    np.testing.assert_array_equal(answers(engine), expected)
    assert used == ["template", "advance_1", "locate_1", "advance_2", "locate_2", "advance_3", "locate_3"]
    assert not caplog.text


def wrong_boxes(engine):
    def recorder(steps, _):
        def wrong():
            steps["locate_2"]()
            engine._buffers.box.add_(0.1)

        return steps | {"locate_2": wrong}

    return recorder


def no_numbers(engine):
    return lambda steps, _: steps | {"advance_3": lambda: engine._buffers.score.fill_(float("nan"))}


def refused(_):
    def recorder(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    return recorder


@pytest.mark.parametrize(
    ("fault", "said"), [(wrong_boxes, "differ by 0.1"), (no_numbers, "differ by nan"), (refused, "not permitted")]
)
def test_eager_steps_stay_where_recording_fails(weights, caplog, fault, said):
    engine = TorchEngine(weights, "cpu")
    expected = answers(engine)
    engine._use_recorded(fault(engine))
    np.testing.assert_array_equal(answers(engine), expected)
    assert said in caplog.text and "CUDA graphs are not used" in caplog.text


@needs_gpu
def test_cuda_graphs_answer_as_eager_steps_and_as_the_cpu(weights, caplog):
    graphed, eager, cpu = (
        TorchEngine(weights, "cuda"),
        TorchEngine(weights, "cuda", graphs=False),
        TorchEngine(weights, "cpu"),
    )
    assert "CUDA graphs are not used" not in caplog.text
    for _ in range(3):
        np.testing.assert_allclose(answers(graphed), answers(eager), atol=2e-3)
    np.testing.assert_allclose(answers(graphed), answers(cpu), atol=0.02)


@needs_gpu
def test_what_cannot_be_recorded_raises():
    value = torch.zeros(1, device="cuda")
    with pytest.raises(RuntimeError):
        record({"waits": lambda: value.item()}, torch.device("cuda"))
