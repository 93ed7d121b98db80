"""One engine fails and the next continues: real engines with random weights, made to fail at chosen calls."""

import weakref

import numpy as np
import pytest
import torch
from failing_engines import NAMES, OUT_OF_MEMORY, Engines, needs_both_engines

from dytrack_ros.engines import FallbackEngine, create_engine, registry
from dytrack_ros.policies import FixedExit, FrameBudget
from dytrack_ros.tracking import DyTracker

pytestmark = needs_both_engines


@pytest.fixture
def engines(monkeypatch):
    return Engines(monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def keep_torch_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def crop(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


TEMPLATES = [crop(seed, 128) for seed in (1, 2)]
SEARCHES = [crop(seed, 256) for seed in (3, 4, 5)]


def follow(engine, told=None):
    """All answers over two targets with three frames each; the last frame of a target exits early."""
    seen = []
    for template in TEMPLATES:
        given = template.copy()
        engine.set_template(given)
        given[:] = 0  # the engine may not rely on the caller's array
        for search, depth in zip(SEARCHES, (3, 3, 2), strict=True):
            given = search.copy()
            engine.begin(given)
            given[:] = 0
            seen.append([(engine.advance(), *engine.locate()) for _ in range(depth)])
            if told is not None:
                told.append(engine.name)
    return seen


@pytest.fixture(scope="module")
def expected(tiny_weights):
    """Each engine's answers without any failure."""
    seen = {name: follow(create_engine(name, tiny_weights, "cpu", 1)) for name in NAMES}
    frames = seen["onnxruntime"]
    assert len({str(frame) for frame in frames}) == len(frames), "a mix-up of crops would go unnoticed"
    return seen


# `after` counts the calls of the step over both targets: 1 template, then 3, 3 and 2 stages and heads a target.
@pytest.mark.parametrize(
    ("at", "after", "frames_before"),
    [
        ("_take_template", 1, 3),
        ("_take_search", 1, 1),
        ("_run_stage", 0, 0),
        ("_run_stage", 5, 1),
        ("_run_head", 15, 5),
    ],
)
def test_the_next_engine_answers_as_if_it_had_run_all_along(engines, tiny_weights, expected, at, after, frames_before):
    engines.fail("torch", at, after)
    sentences, told = [], []
    engine = FallbackEngine("torch", tiny_weights, "cpu", 1, sentences.append)
    assert (engine.name, engine.chosen_because, engine.failures) == ("torch", "asked for", ())
    seen = follow(engine, told)

    assert told == ["torch"] * frames_before + ["onnxruntime"] * (6 - frames_before)
    assert seen[:frames_before] == expected["torch"][:frames_before]
    assert seen[frames_before + 1 :] == expected["onnxruntime"][frames_before + 1 :]
    # In the frame of the failure the first engine's answers may come first; all further ones are the second one's.
    parts = zip(seen[frames_before], *(expected[name][frames_before] for name in NAMES), strict=True)
    from_second = [answer[1:] == second[1:] for answer, _, second in parts]
    assert from_second == sorted(from_second) and from_second[-1]
    reason = f"torch (cpu) failed: RuntimeError: {OUT_OF_MEMORY}".replace("\n", " ")
    assert sentences == [f"{reason}; onnxruntime is loaded instead"]
    assert engine.failures == (reason,)
    assert (engine.device, engine.chosen_because) == ("cpu", reason)


@pytest.mark.parametrize(
    ("step", "answer"), [("_run_stage", float("nan")), ("_run_head", np.full((2, 16, 16), np.nan))]
)
def test_a_nan_is_a_failure(engines, tiny_weights, expected, step, answer):
    whole = engines.whole["torch"]
    wrong = {step: lambda self, position: (getattr(whole, step)(self, position), answer)[1]}
    engines.classes["torch"] = type("NaN", (whole,), wrong)
    engine = FallbackEngine("torch", tiny_weights, "cpu", 1)
    assert follow(engine)[1:] == expected["onnxruntime"][1:]
    assert "nan" in engine.chosen_because.lower()


def test_misuse_is_not_a_failure(engines, tiny_weights):
    sentences = []
    engine = FallbackEngine("torch", tiny_weights, "cpu", 1, sentences.append)
    with pytest.raises(RuntimeError, match="before set_template"):
        engine.begin(SEARCHES[0])
    with pytest.raises(ValueError, match="128x128x3"):
        engine.set_template(SEARCHES[0])
    engine.set_template(TEMPLATES[0])
    with pytest.raises(RuntimeError, match="before begin"):
        engine.advance()
    assert (engine.name, sentences, engines.loaded) == ("torch", [], ["torch"])


def test_the_failed_engine_is_gone_before_the_next_one_is_loaded(engines, tiny_weights):
    """The next engine may need its memory."""
    engines.fail("torch", "_run_stage", 1)
    engine = FallbackEngine("torch", tiny_weights, "cpu", 1)
    failed = weakref.ref(engine._engine)
    load, alive = engines.load, []

    def watch(name, *given, **named):
        alive.append(failed() is not None)
        return load(name, *given, **named)

    engines.load = watch
    follow(engine)
    assert alive == [False]


# --- loading ---------------------------------------------------------------------------------------------------------


def test_auto_falls_back_while_loading(engines, tiny_weights, expected):
    engines.fail_to_load("onnxruntime")
    sentences = []
    engine = FallbackEngine("auto", tiny_weights, "auto", 1, sentences.append, precision="fp32")
    reason = "onnxruntime failed: OSError: libsomething.so: cannot open shared object file"
    assert sentences == [f"{reason}; torch is loaded instead"]
    assert (engine.name, engine.precision, engine.chosen_because) == ("torch", "fp32", reason)
    assert follow(engine) == expected["torch"]


def test_an_engine_or_a_gpu_that_was_asked_for_must_load(engines, tiny_weights, monkeypatch):
    engines.fail_to_load("onnxruntime")
    with pytest.raises(OSError, match="libsomething"):
        FallbackEngine("onnxruntime", tiny_weights)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA device"):
        FallbackEngine("auto", tiny_weights, "cuda:0")
    assert engines.loaded == []


@pytest.mark.parametrize(
    ("weights", "device", "error", "words"),
    [
        ("dytrack_huge", "auto", FileNotFoundError, "shipped are"),
        (__file__, "auto", ValueError, "not a safetensors file"),
        ("dytrack_small", "abacus", ValueError, "auto, cpu or cuda"),
    ],
)
def test_errors_that_no_engine_could_avoid_are_not_failures(engines, weights, device, error, words):
    with pytest.raises(error, match=words):
        FallbackEngine("auto", weights, device)
    assert engines.loaded == []


# --- when none is left -----------------------------------------------------------------------------------------------


def test_without_engines_left_all_causes_are_named_and_the_next_target_starts_over(engines, tiny_weights, expected):
    engines.fail("torch", "_run_stage", 4)
    engines.fail_to_load("onnxruntime")
    sentences = []
    engine = FallbackEngine("torch", tiny_weights, "cpu", 1, sentences.append)
    with pytest.raises(RuntimeError) as raised:
        follow(engine)
    assert str(raised.value) == (
        f"no engine is left: torch (cpu) failed: RuntimeError: {OUT_OF_MEMORY}; ".replace("\n", " ")
        + "onnxruntime failed: OSError: libsomething.so: cannot open shared object file"
    )
    with pytest.raises(RuntimeError, match="before set_template"):
        engine.begin(SEARCHES[0])
    assert (engine.name, engine.failures, len(sentences)) == ("torch", (), 1)

    engine.set_template(TEMPLATES[0])
    engine.begin(SEARCHES[0])
    assert [(engine.advance(), *engine.locate()) for _ in range(3)] == expected["torch"][0]
    assert engines.loaded == ["torch", "torch"]


def test_an_engine_that_fails_at_once_is_passed_over(engines, tiny_weights, expected, monkeypatch):
    # torch, then onnxruntime, then torch on the CPU
    monkeypatch.setattr(registry, "cuda_is_present", lambda: True)
    engines.fail("torch", "_run_stage", 4)
    engines.fail("onnxruntime", "_run_stage", 0)
    engines.is_mended = True
    sentences = []
    engine = FallbackEngine("torch", tiny_weights, "auto", 1, sentences.append)
    assert follow(engine)[0] == expected["torch"][0]
    assert engines.loaded == ["torch", "onnxruntime", "torch"]
    assert [sentence.split("; ")[-1] for sentence in sentences] == [
        "onnxruntime is loaded instead",
        "torch is loaded instead",
    ]


# --- the tracker and its budget --------------------------------------------------------------------------------------

IMAGES = [np.random.default_rng(seed).integers(0, 256, (240, 320, 3), np.uint8) for seed in range(4)]
BOX = (100.0, 80.0, 60.0, 50.0)


def boxes(tracker):
    tracker.initialize(IMAGES[0], BOX)
    return [tracker.track(image).box for image in IMAGES[1:]]


def test_the_target_is_followed_on(engines, tiny_weights):
    expected = boxes(
        DyTracker.from_pretrained(tiny_weights, engine="onnxruntime", policy=FixedExit(3), device="cpu", threads=1)
    )
    sentences = []
    engines.fail("torch", "_run_stage", 4)
    tracker = DyTracker.from_pretrained(
        tiny_weights, engine="torch", policy=FixedExit(3), device="cpu", threads=1, on_fallback=sentences.append
    )
    seen = boxes(tracker)
    np.testing.assert_allclose(seen[0], expected[0], atol=0.05)  # torch's own
    np.testing.assert_allclose(seen, expected, atol=0.2)
    assert tracker.engine_name == "onnxruntime (cpu)"
    assert tracker.engine_failures == tracker.engine.failures != ()
    assert len(sentences) == 1


def test_the_other_engines_exit_costs_are_measured_and_the_budget_takes_them(engines, tiny_weights):
    policy = FrameBudget(0.5)
    tracker = DyTracker.from_pretrained(
        tiny_weights, engine="torch", policy=policy, device="cpu", threads=1, on_fallback=lambda sentence: None
    )
    before = tracker.exit_costs()
    assert policy.exit_seconds(1) == before.answer(1)
    tracker.initialize(IMAGES[0], BOX)
    tracker.engine._engine._run_stage = None  # calling it raises
    tracker.track(IMAGES[1])
    tracker.track(IMAGES[2])
    assert tracker.engine_name == "onnxruntime (cpu)"
    after = tracker.exit_costs()
    assert after != before
    assert tracker.exit_costs() is after, "measured once"
    assert policy.exit_seconds(1) == after.answer(1)
    assert policy.slowdown == 1


def test_an_engine_that_fails_while_its_exits_are_measured(engines, tiny_weights):
    engines.fail("torch", "_run_stage", 5)
    tracker = DyTracker.from_pretrained(
        tiny_weights, engine="torch", policy=None, device="cpu", threads=1, on_fallback=lambda sentence: None
    )
    costs = tracker.exit_costs()
    assert tracker.engine_name == "onnxruntime (cpu)"
    assert list(tracker._exit_costs.items()) == [("onnxruntime (cpu)", costs)], "no costs of two engines mixed"


def test_a_process_that_ends_loads_no_other_engine(engines, tiny_weights):
    engines.fail("torch", "_run_stage", 0, RuntimeError("interrupted"))

    def refuse(sentence):
        raise InterruptedError(sentence)

    engine = FallbackEngine("torch", tiny_weights, "cpu", 1, refuse)
    engine.set_template(TEMPLATES[0])
    engine.begin(SEARCHES[0])
    with pytest.raises(InterruptedError, match="torch .* interrupted"):
        engine.advance()
    assert engines.loaded == ["torch"]
