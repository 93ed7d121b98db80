"""One suite for every engine that runs here: the contract, and the network's answers."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from engine_answers import (
    GRAPH_ENGINES,
    SCORE_TOLERANCE,
    SEARCHES,
    TEMPLATES,
    answers,
    assert_same,
    expected_answers,
    network_outputs,
)

from dytrack_ros.engines import ENGINES, FallbackEngine, create_engine
from dytrack_ros.engines.base import expected_box
from dytrack_ros.engines.registry import missing_packages
from dytrack_ros.model.corner_head import CornerHead
from dytrack_ros.utils import cpu_facts


@pytest.fixture(scope="session")
def weights(lively_weights):
    return lively_weights


@pytest.fixture(scope="module", params=["torch", *GRAPH_ENGINES, "fallback"])
def shared_engine(request, weights):
    threads = torch.get_num_threads()
    if request.param == "fallback":
        yield FallbackEngine("torch", weights, device="cpu", threads=1)
    else:
        yield create_engine(request.param, weights, "cpu", threads=1)
    torch.set_num_threads(threads)


@pytest.fixture
def any_engine(shared_engine):
    """An engine without a template."""
    shared_engine._forget()
    return shared_engine


@pytest.fixture
def engine(any_engine):
    """An engine with a template."""
    any_engine.set_template(TEMPLATES[0])
    return any_engine


def test_attributes(any_engine):
    assert any_engine.name in ENGINES
    assert (any_engine.device, any_engine.chosen_because, any_engine.failures) == ("cpu", "asked for", ())
    assert any_engine.label == f"{any_engine.name} (cpu)"
    assert (any_engine.exit_count, any_engine.template_size, any_engine.search_size) == (3, 128, 256)
    assert (any_engine.template_factor, any_engine.search_factor, any_engine.background_mask) == (2.0, 4.0, 0)


def test_answers_are_the_networks(any_engine, weights):
    seen = []
    for template in TEMPLATES:
        any_engine.set_template(template)
        for search in SEARCHES:
            seen.append(answers(any_engine, search))
            assert_same(seen[-1], expected_answers(weights, template, search))
    differences = [np.abs(a - b).max() for i, a in enumerate(seen) for b in seen[:i]]
    assert min(differences) > 2 * SCORE_TOLERANCE, "the inputs are too alike for this test to notice a mix-up"


def test_heat_maps_are_log_probabilities_of_the_exit_reached(engine, weights):
    engine.begin(SEARCHES[0])
    for output in network_outputs(weights, TEMPLATES[0], SEARCHES[0]):
        assert type(engine.advance()) is float
        heat_maps, box = engine.heat_maps(), engine.locate()
        assert (heat_maps.shape, heat_maps.dtype) == ((2, 16, 16), np.float32)
        assert (box.shape, box.dtype) == ((4,), np.float32)
        np.testing.assert_allclose(np.exp(heat_maps).sum(axis=(1, 2)), 1, atol=1e-3)
        np.testing.assert_allclose(np.exp(heat_maps), output.log_heat_maps[0].exp().numpy(), atol=0.02)
        np.testing.assert_array_equal(box, expected_box(heat_maps))


def test_the_expected_box_is_that_of_the_corner_head():
    log_heat_maps = (4 * torch.randn(2, 10 * 14)).log_softmax(dim=1).view(2, 10, 14)
    expected = CornerHead.box(log_heat_maps[None])[0].numpy()
    np.testing.assert_allclose(expected_box(log_heat_maps.numpy()), expected, atol=1e-6)
    corners = np.full((2, 4, 8), -np.inf, np.float32)
    corners[0, 1, 2] = corners[1, 3, 7] = 0
    assert expected_box(corners).tolist() == [2.5 / 8, 1.5 / 4, 7.5 / 8, 3.5 / 4]


def test_calls_out_of_order_are_errors(any_engine):
    for call in (any_engine.advance, any_engine.locate, any_engine.heat_maps):
        with pytest.raises(RuntimeError, match="before"):
            call()
    with pytest.raises(RuntimeError, match=r"begin\(\) before set_template"):
        any_engine.begin(SEARCHES[0])
    any_engine.set_template(TEMPLATES[0])
    with pytest.raises(RuntimeError, match=r"advance\(\) before begin"):
        any_engine.advance()
    any_engine.begin(SEARCHES[0])
    with pytest.raises(RuntimeError, match=r"before advance"):
        any_engine.locate()
    for _ in range(any_engine.exit_count):
        any_engine.advance()
    with pytest.raises(RuntimeError, match="last exit"):
        any_engine.advance()
    any_engine.locate()
    any_engine.set_template(TEMPLATES[0])
    with pytest.raises(RuntimeError, match=r"advance\(\) before begin"):
        any_engine.advance()


def test_wrong_crops_are_errors_and_change_nothing(engine):
    before, crop = answers(engine, SEARCHES[0]), TEMPLATES[0]
    for wrong in (crop[:-1], crop[..., 0], crop.astype(np.float32), crop[None], SEARCHES[0]):
        with pytest.raises(ValueError, match="template must be uint8 RGB of 128x128x3"):
            engine.set_template(wrong)
    with pytest.raises(ValueError, match="search region must be uint8 RGB of 256x256x3"):
        engine.begin(crop)
    np.testing.assert_array_equal(answers(engine, SEARCHES[0]), before)


def test_a_frame_does_not_depend_on_earlier_frames_or_templates(engine):
    alone = answers(engine, SEARCHES[0])
    for depth in (1, 2, 3):
        answers(engine, SEARCHES[1], depth)
        np.testing.assert_array_equal(answers(engine, SEARCHES[0]), alone)
    engine.begin(SEARCHES[1])
    np.testing.assert_array_equal(answers(engine, SEARCHES[0]), alone)
    engine.set_template(TEMPLATES[1])
    assert np.abs(answers(engine, SEARCHES[0]) - alone).max() > SCORE_TOLERANCE
    engine.set_template(TEMPLATES[0])
    np.testing.assert_array_equal(answers(engine, SEARCHES[0]), alone)


def test_arrays_given_and_returned_are_copies_and_crops_may_be_views(engine):
    """The head runs at the last exit alone here."""
    expected = answers(engine, SEARCHES[0])
    template, search = np.ascontiguousarray(TEMPLATES[0][..., ::-1])[..., ::-1], np.asfortranarray(SEARCHES[0])
    engine.set_template(template)
    engine.begin(search)
    template[:], search[:] = 0, 0
    scores = [engine.advance() for _ in range(3)]
    heat_maps = engine.heat_maps()
    answers(engine, SEARCHES[1])
    np.testing.assert_array_equal([scores[-1], *expected_box(heat_maps)], expected[-1])


def test_hundreds_of_frames_take_no_more_memory(any_engine):
    def resident_mib():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def follow(frames):
        for number in range(frames):
            if number % 50 == 0:
                any_engine.set_template(TEMPLATES[number // 50 % 2])
            answers(any_engine, SEARCHES[number % 3])

    follow(50)
    before = resident_mib()
    follow(200)
    assert resident_mib() - before < 10


@pytest.mark.parametrize("name", ["torch", *GRAPH_ENGINES])
def test_fp32_is_exact(name, weights):
    exact = create_engine(name, weights, device="cpu", threads=2, precision="fp32")
    exact.set_template(TEMPLATES[0])
    expected = expected_answers(weights, TEMPLATES[0], SEARCHES[0])
    np.testing.assert_allclose(answers(exact, SEARCHES[0]), expected, atol=2e-4)
    assert exact.label == f"{name} (cpu, fp32)"
    if name == "openvino":  # which otherwise computes in bf16 where the chip does
        compiled = exact._requests["advance_2"].get_compiled_model()
        assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


@pytest.mark.skipif(bool(missing_packages("openvino")), reason="openvino or onnx is missing")
def test_openvino_runs_where_the_instruction_set_is_limited(weights):
    """oneDNN reads the limit at its first use, hence a process of its own. OpenVINO still asks it for bf16."""
    program = """
import sys
from dytrack_ros.engines import create_engine
from dytrack_ros.engines.base import reference_crop
engine = create_engine("openvino", sys.argv[1], device="cpu", precision=sys.argv[2])
print(engine.answers(reference_crop(engine.template_size), reference_crop(engine.search_size)).tolist())
print(engine.label)
"""
    found = {
        precision: subprocess.run(
            [sys.executable, "-c", program, str(weights), precision],
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, capture_output=True, text=True, timeout=120,
        )
        for precision in ("auto", "fp32")
    }  # fmt: skip
    assert [done.returncode for done in found.values()] == [0, 0], found["auto"].stderr
    (answers_of_auto, label), (answers_in_fp32, _) = (done.stdout.splitlines() for done in found.values())
    assert answers_of_auto == answers_in_fp32, "without bf16 instructions auto is fp32"
    chip_has_bf16 = any("bf16" in flag for flag in cpu_facts()["cpu_flags"])
    assert label == ("openvino (cpu, fp32)" if chip_has_bf16 else "openvino (cpu)")


@pytest.mark.parametrize("name", ["torch", *GRAPH_ENGINES])
def test_two_engines_of_a_process_are_independent(name, weights):
    one, other = (create_engine(name, weights, device="cpu") for _ in range(2))
    one.set_template(TEMPLATES[0])
    expected = answers(one, SEARCHES[0])
    other.set_template(TEMPLATES[1])
    one.begin(SEARCHES[0])
    other.begin(SEARCHES[1])
    got = [(one.advance(), other.advance())[0] for _ in range(3)]
    np.testing.assert_array_equal([got[-1], *one.locate()], expected[-1])
