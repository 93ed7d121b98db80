"""All engines against one and the same suite; their choice; the cache of graphs; the command `export`."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_answers import SCORE_TOLERANCE, SEARCHES, TEMPLATES, answers, assert_same, expected_answers, finish, python
from random_network import TINY, lively_model

from dytrack_ros.engines import ENGINES, FallbackEngine, create_engine
from dytrack_ros.engines import cache as graph_cache
from dytrack_ros.engines import onnx_export as export
from dytrack_ros.engines import registry as engine
from dytrack_ros.engines.cache import cache_folder, cached_graphs
from dytrack_ros.engines.onnx_graphs import MANIFEST, graph_names
from dytrack_ros.model import save_weights

GRAPH_ENGINES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(bool(engine.missing_packages(name)), reason=f"{name} or onnx is not installed"),
    )
    for name in ("openvino", "onnxruntime")
]
INSTALLED_GRAPH_ENGINES = [name for name in ("openvino", "onnxruntime") if not engine.missing_packages(name)]
needs_onnx = pytest.mark.skipif(
    bool(engine.missing_packages("onnxruntime")), reason="onnx or onnxruntime is not installed"
)


@pytest.fixture(scope="session")
def weights(lively_weights):
    return lively_weights


# --- every engine ----------------------------------------------------------------------------------------------------


@pytest.fixture(
    scope="module", params=["torch", *GRAPH_ENGINES, "fallback", pytest.param("tensorrt", marks=needs_onnx)]
)
def shared_engine(request, weights):
    device = "cpu"
    if request.param == "tensorrt":  # its own part: TensorRT and the GPU are stand-ins
        request.getfixturevalue("shared_tensorrt")
        device = "cuda:0"
    threads = torch.get_num_threads()
    if request.param == "fallback":
        yield FallbackEngine("torch", weights, device="cpu", threads=1)
    else:
        yield create_engine(request.param, weights, device, threads=1)
    torch.set_num_threads(threads)


@pytest.fixture
def any_engine(shared_engine):
    """An engine that was not given a template yet."""
    shared_engine._forget()
    return shared_engine


def test_it_describes_itself(any_engine):
    assert any_engine.name in ENGINES
    assert any_engine.device == ("cuda:0" if any_engine.name == "tensorrt" else "cpu")
    assert any_engine.chosen_because == "asked for"
    assert (any_engine.exit_count, any_engine.template_size, any_engine.search_size) == (3, 128, 256)
    assert (any_engine.template_factor, any_engine.search_factor) == (2.0, 4.0)
    assert any_engine.background_mask == 0


def test_it_gives_the_networks_answers(any_engine, weights):
    seen = []
    for template in TEMPLATES:
        any_engine.set_template(template)
        for search in SEARCHES:
            seen.append(answers(any_engine, search))
            assert_same(seen[-1], expected_answers(weights, template, search))
    differences = [np.abs(a - b).max() for i, a in enumerate(seen) for b in seen[:i]]
    assert min(differences) > 2 * SCORE_TOLERANCE, "the inputs are too alike for this test to notice a mix-up"


def test_answers_have_the_contracts_types(any_engine):
    any_engine.set_template(TEMPLATES[0])
    any_engine.begin(SEARCHES[0])
    assert type(any_engine.advance()) is float
    box = any_engine.locate()
    assert isinstance(box, np.ndarray) and box.shape == (4,) and box.dtype == np.float32


def test_calls_out_of_order_are_errors(any_engine):
    for call in (any_engine.advance, any_engine.locate):
        with pytest.raises(RuntimeError, match="before"):
            call()
    with pytest.raises(RuntimeError, match=r"begin\(\) before set_template"):
        any_engine.begin(SEARCHES[0])
    any_engine.set_template(TEMPLATES[0])
    with pytest.raises(RuntimeError, match=r"advance\(\) before begin"):
        any_engine.advance()
    any_engine.begin(SEARCHES[0])
    with pytest.raises(RuntimeError, match=r"locate\(\) before advance"):
        any_engine.locate()
    for _ in range(any_engine.exit_count):
        any_engine.advance()
    with pytest.raises(RuntimeError, match="last exit"):
        any_engine.advance()
    any_engine.locate()
    any_engine.set_template(TEMPLATES[0])
    with pytest.raises(RuntimeError, match=r"advance\(\) before begin"):
        any_engine.advance()


@pytest.mark.parametrize(
    "crop",
    [TEMPLATES[0][:-1], TEMPLATES[0][..., 0], TEMPLATES[0].astype(np.float32), TEMPLATES[0][None], SEARCHES[0]],
    ids=["short", "grey", "float", "batch", "search region"],
)
def test_wrong_crops_are_errors_and_change_nothing(any_engine, crop):
    any_engine.set_template(TEMPLATES[0])
    before = answers(any_engine, SEARCHES[0])
    with pytest.raises(ValueError, match="template must be uint8 RGB of 128x128x3"):
        any_engine.set_template(crop)
    if crop is not SEARCHES[0]:
        with pytest.raises(ValueError, match="search region must be uint8 RGB of 256x256x3"):
            any_engine.begin(crop)
    np.testing.assert_array_equal(answers(any_engine, SEARCHES[0]), before)


def test_a_frame_leaves_nothing_to_the_next(any_engine):
    any_engine.set_template(TEMPLATES[0])
    alone = answers(any_engine, SEARCHES[0])
    for depth in (1, 2, 3):
        answers(any_engine, SEARCHES[1], depth)
        np.testing.assert_array_equal(answers(any_engine, SEARCHES[0]), alone)
    any_engine.begin(SEARCHES[1])
    np.testing.assert_array_equal(answers(any_engine, SEARCHES[0]), alone)


def test_a_new_template_replaces_the_old_one(any_engine):
    any_engine.set_template(TEMPLATES[0])
    first = answers(any_engine, SEARCHES[0])
    any_engine.set_template(TEMPLATES[1])
    second = answers(any_engine, SEARCHES[0])
    any_engine.set_template(TEMPLATES[0])
    np.testing.assert_array_equal(answers(any_engine, SEARCHES[0]), first)
    assert np.abs(first - second).max() > SCORE_TOLERANCE


def test_heads_may_run_at_every_exit_or_only_at_the_last(any_engine):
    any_engine.set_template(TEMPLATES[0])
    everywhere = answers(any_engine, SEARCHES[0])
    any_engine.begin(SEARCHES[0])
    scores = [any_engine.advance() for _ in range(3)]
    np.testing.assert_array_equal(scores, everywhere[:, 0])
    np.testing.assert_array_equal(any_engine.locate().astype(float), everywhere[-1, 1:])


def test_it_keeps_no_hold_of_the_callers_arrays_nor_of_its_answers(any_engine):
    any_engine.set_template(TEMPLATES[0])
    expected = answers(any_engine, SEARCHES[0])
    template, search = TEMPLATES[0].copy(), SEARCHES[0].copy()
    any_engine.set_template(template)
    any_engine.begin(search)
    template[:], search[:] = 0, 0
    scores = [any_engine.advance() for _ in range(3)]
    box = any_engine.locate()
    answers(any_engine, SEARCHES[1])
    np.testing.assert_array_equal([scores[-1], *box], expected[-1])


def test_crops_that_are_views_of_something_else(any_engine):
    any_engine.set_template(TEMPLATES[0])
    expected = answers(any_engine, SEARCHES[0])
    any_engine.set_template(np.ascontiguousarray(TEMPLATES[0][..., ::-1])[..., ::-1])
    np.testing.assert_array_equal(answers(any_engine, np.asfortranarray(SEARCHES[0])), expected)


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
@pytest.mark.parametrize("threads", [None, 2])
def test_more_threads_give_the_same_answers(name, threads, weights):
    before = torch.get_num_threads()
    try:
        several = create_engine(name, weights, device="cpu", threads=threads)
        several.set_template(TEMPLATES[0])
        assert_same(answers(several, SEARCHES[0]), expected_answers(weights, TEMPLATES[0], SEARCHES[0]))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["torch", *GRAPH_ENGINES])
def test_in_fp32_the_answers_are_exact(name, weights):
    exact = create_engine(name, weights, device="cpu", threads=1, precision="fp32")
    exact.set_template(TEMPLATES[0])
    expected = expected_answers(weights, TEMPLATES[0], SEARCHES[0])
    np.testing.assert_allclose(answers(exact, SEARCHES[0]), expected, atol=2e-4)
    assert engine.engine_label(exact) == f"{name} (cpu, fp32)"
    if name == "openvino":  # bf16 where the chip has it, but not here
        compiled = exact._requests["advance_2"].get_compiled_model()
        assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


def test_what_stands_in_for_an_engine_in_fp32_is_exact_too():
    first = engine.resolve_engine("openvino", "cpu", "fp32")
    assert first.precision == "fp32"
    others = engine.substitutes(first)
    assert {other.name for other in others} >= {"torch"}
    assert {other.precision for other in others} == {"fp32"} and first.name not in {other.name for other in others}


@pytest.mark.parametrize("name", ["torch", *GRAPH_ENGINES])
def test_engines_of_one_process_are_apart(name, weights):
    one, other = (create_engine(name, weights, device="cpu") for _ in range(2))
    one.set_template(TEMPLATES[0])
    expected = answers(one, SEARCHES[0])
    other.set_template(TEMPLATES[1])
    one.begin(SEARCHES[0])
    other.begin(SEARCHES[1])
    got = [(one.advance(), other.advance())[0] for _ in range(3)]
    np.testing.assert_array_equal([got[-1], *one.locate()], expected[-1])


@pytest.mark.parametrize("name", ENGINES)
def test_an_unknown_device_is_an_error(name, weights):
    with pytest.raises(ValueError, match="auto, cpu or cuda"):
        create_engine(name, weights, device="abacus")


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_the_cpu_engines_refuse_a_gpu(name, weights):
    with pytest.raises(ValueError, match="use engine 'torch' or 'tensorrt'"):
        create_engine(name, weights, device="cuda:0")


# --- the choice ------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch):
    """Pretends that only these packages are installed."""

    def pretend(*packages):
        monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: object() if name in packages else None)

    for question in ("is_jetson", "has_gpu_driver", "cuda_is_present"):
        monkeypatch.setattr(engine, question, lambda: False)
    return pretend


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        (("torch", "openvino", "onnxruntime", "onnx"), "openvino"),
        (("torch", "onnxruntime", "onnx"), "onnxruntime"),
        (("torch", "openvino", "onnxruntime"), "torch"),
        (("torch",), "torch"),
    ],
)
def test_auto_takes_the_fastest_cpu_engine_that_is_there(installed, packages, expected):
    installed(*packages)
    name, reason = engine.choose_engine()
    assert name == expected
    assert reason.startswith("no CUDA device, ") and "installed" in reason


def test_auto_takes_torch_for_a_gpu(installed, monkeypatch):
    installed("torch", "openvino", "onnxruntime", "onnx")
    assert engine.choose_engine("cuda:1") == ("torch", "device cuda:1 was asked for")
    monkeypatch.setattr(engine, "cuda_is_present", lambda: True)
    assert engine.choose_engine() == ("torch", "this machine has a CUDA device")
    assert engine.choose_engine("cpu") == ("openvino", "device cpu was asked for, openvino is installed")


def test_torch_is_asked_for_gpus_only_where_there_is_a_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (tmp_path / "null").touch()
    assert not engine.cuda_is_present(tmp_path)
    assert not engine.cuda_is_present(tmp_path / "missing")
    for device_file in ("nvidia0", "nvhost-gpu", "dxg"):
        (tmp_path / device_file).touch()
        assert engine.cuda_is_present(tmp_path)
        (tmp_path / device_file).unlink()


@pytest.mark.parametrize(
    ("name", "packages", "advice"),
    [
        ("openvino", ("torch", "onnx"), "pip install openvino"),
        ("onnxruntime", ("torch",), "pip install onnxruntime onnx"),
        ("torch", (), "pip install torch"),
    ],
)
def test_an_engine_that_is_not_installed_names_its_package(installed, weights, name, packages, advice):
    installed(*packages)
    with pytest.raises(ImportError, match=f"{name}.*{advice}$"):
        create_engine(name, weights)


# --- the cache of graphs ---------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture(scope="session")
def graphs(weights):
    """The folder with the graphs of the weights in the cache that all tests share."""
    with cached_graphs(weights) as folder:
        return folder


@pytest.fixture
def filled_cache(graphs, cache):
    """A cache folder of its own with these graphs in it."""
    shutil.copytree(graphs, cache / graphs.name)
    return cache


@pytest.fixture
def small_graphs(monkeypatch):
    """Stands in for the export where only the handling of folders is tested."""

    def write(weights, folder, precision):
        file = folder / "embed_template.onnx"
        file.write_bytes(weights.read_bytes())
        export.write_manifest(folder, [file], {})

    monkeypatch.setattr(export, "write_graphs", write)


@pytest.fixture
def made(monkeypatch):
    """The folders into which graphs were written, in order."""
    folders = []
    original = export.write_graphs

    def write(weights, folder, precision):
        folders.append(folder)
        original(weights, folder, precision)

    monkeypatch.setattr(export, "write_graphs", write)
    return folders


def folders_in(cache):
    return sorted(path.name for path in cache.iterdir())


@needs_onnx
def test_graphs_are_made_once_and_for_all_engines(cache, made, weights, tmp_path):
    renamed = shutil.copy(weights, tmp_path / "another_name.safetensors")
    for path, name in [(weights, "onnxruntime"), (weights, "onnxruntime"), (renamed, "auto")]:
        created = create_engine(name, path, device="cpu")
        created.set_template(TEMPLATES[0])
        assert_same(answers(created, SEARCHES[0]), expected_answers(weights, TEMPLATES[0], SEARCHES[0]))
    assert len(made) == 1
    assert len(folders_in(cache)) == 1


@needs_onnx
def test_other_weights_have_other_graphs(cache, made, weights, tmp_path):
    """Even in a file of the same name."""
    path = tmp_path / "changing.safetensors"
    for model in (lively_model(seed=0), lively_model(seed=1)):
        save_weights(path, model)
        created = create_engine("onnxruntime", path)
        created.set_template(TEMPLATES[0])
        assert_same(answers(created, SEARCHES[0]), expected_answers(path, TEMPLATES[0], SEARCHES[0]))
    assert len(made) == len(folders_in(cache)) == 2


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut_short(folder / "embed_template.onnx"),
        lambda folder: (folder / "embed_template.onnx").write_bytes(bytes(8)),
        lambda folder: (folder / "embed_template.onnx").unlink(),
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: cut_short(folder / MANIFEST),
        lambda folder: (folder / MANIFEST).write_text("[]"),
        lambda folder: (folder / MANIFEST).write_bytes(b"\xff\x00"),
    ],
    ids=[
        "cut short",
        "zeroed",
        "file missing",
        "manifest missing",
        "manifest cut short",
        "manifest of a list",
        "manifest of bytes",
    ],
)
def test_a_damaged_folder_is_made_again(cache, small_graphs, made, tmp_path, damage):
    weights = tmp_path / "weights"
    weights.write_bytes(b"content!")
    for _ in range(2):
        with cached_graphs(weights) as folder:
            pass
    assert len(made) == 1
    damage(folder)
    with cached_graphs(weights) as mended:
        assert mended == folder
        assert (folder / "embed_template.onnx").read_bytes() == b"content!"
    assert len(made) == 2
    assert folders_in(cache) == [folder.name]


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_an_engine_survives_a_damaged_cache(filled_cache, graphs, made, weights, name):
    cut_short(filled_cache / graphs.name / "advance_2.onnx")
    created = create_engine(name, weights)
    created.set_template(TEMPLATES[0])
    assert_same(answers(created, SEARCHES[0]), expected_answers(weights, TEMPLATES[0], SEARCHES[0]))
    assert len(made) == 1
    assert folders_in(filled_cache) == [graphs.name]


def test_a_crash_while_making_graphs_leaves_nothing(cache, weights, monkeypatch):
    def crash(weights, folder, precision):
        (folder / "embed_template.onnx").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "write_graphs", crash)
    with pytest.raises(KeyboardInterrupt), cached_graphs(weights):
        pass
    assert folders_in(cache) == []


def test_a_cache_that_cannot_be_written_is_survived_and_said_once(tmp_path, monkeypatch, small_graphs, weights, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    graph_cache._warn_unwritable.cache_clear()
    for _ in range(2):
        with cached_graphs(weights) as folder:
            assert (folder / "embed_template.onnx").is_file()
        assert not folder.exists()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "XDG_CACHE_HOME" in caplog.text


def test_only_the_folders_used_last_are_kept(cache, tmp_path, monkeypatch, small_graphs):
    monkeypatch.setattr(graph_cache, "KEPT_FOLDERS", 2)
    (cache / ".partial-of-a-crash").mkdir(parents=True)
    os.utime(cache / ".partial-of-a-crash", (0, 0))
    (cache / ".partial-of-now").mkdir()
    names = []
    for number in range(3):
        weights = tmp_path / f"{number}"
        weights.write_bytes(bytes([number]))
        with cached_graphs(weights) as folder:
            names.append(folder.name)
        os.utime(folder, (1000 + number, 1000 + number))
        with cached_graphs(tmp_path / "0") as folder:  # used again: the newest
            assert folder.name == names[0]
    assert folders_in(cache) == sorted([".partial-of-now", names[0], names[2]])


def test_the_cache_folder_follows_the_standard(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / ".cache" / "dytrack_ros" / "graphs"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache_folder()) == "/somewhere/dytrack_ros/graphs"


@needs_onnx
def test_two_processes_at_once(cache, weights):
    code = f"from dytrack_ros.engines import create_engine; print(create_engine('onnxruntime', {str(weights)!r}).name)"
    processes = [python(code) for _ in range(2)]
    assert [finish(process).strip() for process in processes] == ["onnxruntime"] * 2
    (folder,) = cache.iterdir()
    export.read_manifest(folder)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_with_its_graphs_made_an_engine_needs_no_torch(name, filled_cache, weights):
    code = f"""
import sys
import numpy as np
from dytrack_ros.tracking import DyTracker

tracker = DyTracker.from_pretrained({str(weights)!r}, engine={name!r})
tracker.initialize(np.zeros((240, 320, 3), np.uint8), (100, 100, 40, 40))
tracker.track(np.zeros((240, 320, 3), np.uint8))
print(tracker.engine.name, sorted({{"torch", "onnx"}} & set(sys.modules)))
"""
    assert finish(python(code)).strip() == f"{name} []"


# --- export ----------------------------------------------------------------------------------------------------------


@needs_onnx
def test_export_writes_checked_static_graphs(tmp_path, weights, capsys):
    import onnx

    from dytrack_ros.engines.onnxruntime_engine import OnnxRuntimeEngine

    assert export.main(["--model", str(weights), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("largest difference") == 3
    names = graph_names(3)
    assert len(names) == 7
    assert folders_in(tmp_path / "out") == sorted([*(f"{name}.onnx" for name in names), MANIFEST])
    made = set()
    for name in names:
        model = onnx.load(tmp_path / "out" / f"{name}.onnx")
        onnx.checker.check_model(model)
        assert [opset.version for opset in model.opset_import if opset.domain == ""] == [18]
        for value in [*model.graph.input, *model.graph.output]:
            assert all(size.dim_value > 0 for size in value.type.tensor_type.shape.dim), value.name
        assert not {node.op_type for node in model.graph.node} & {"Constant", "Shape", "Expand", "Where", "Sqrt"}, name
        assert {value.name for value in model.graph.input} <= made | {"template", "search"}
        made |= {value.name for value in model.graph.output}
    assert made >= {f"{value}_{k}" for value in ("score", "box") for k in (1, 2, 3)}

    exported = OnnxRuntimeEngine(weights, graphs=tmp_path / "out")
    exported.set_template(TEMPLATES[0])
    assert_same(answers(exported, SEARCHES[0]), expected_answers(weights, TEMPLATES[0], SEARCHES[0]))
    others = save_weights(tmp_path / "other.safetensors", lively_model(seed=1))
    with pytest.raises(ValueError, match="not exported from"):
        OnnxRuntimeEngine(others, graphs=tmp_path / "out")
    cut_short(tmp_path / "out" / "advance_2.onnx")
    with pytest.raises(ValueError, match="damaged: advance_2.onnx"):
        OnnxRuntimeEngine(weights, graphs=tmp_path / "out")


@needs_onnx
def test_export_fills_the_cache(weights, capsys):
    assert export.main(["--model", str(weights), "--cache", "--precision", "fp16", "--no-check"]) == 0
    with cached_graphs(weights, "fp16") as folder:
        assert f"fp16, in {folder}\n" in capsys.readouterr().out
    with cached_graphs(weights) as other:
        assert other != folder
    with pytest.raises(SystemExit):
        export.main(["--model", str(weights), "--cache", "--out", str(folder)])


@needs_onnx
def test_half_precision_graphs_are_what_tensorrt_takes(weights):
    """TensorRT computes each layer in the type that its graph says, and of its layers only the cast takes uint8."""
    import onnx
    from onnx import TensorProto

    with cached_graphs(weights, "fp16") as folder:
        graphs = {name: onnx.load(folder / f"{name}.onnx").graph for name in graph_names(3)}
    for name, graph in graphs.items():
        types = {value.name: value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
        for value, type_ in types.items():
            kind = value.rstrip("_123")
            expected = {"template": TensorProto.UINT8, "search": TensorProto.UINT8, "score": 1, "box": 1}
            assert type_ == expected.get(kind, TensorProto.FLOAT16), value
            if type_ == TensorProto.UINT8:
                assert {node.op_type for node in graph.node if value in node.input} == {"Cast"}
        weights_of = {tensor.name: tensor.data_type for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type in ("MatMul", "Gemm", "Conv", "LayerNormalization"):
                used = {weights_of[value] for value in node.input if value in weights_of}
                assert used <= {TensorProto.FLOAT16}, f"{name}: {node.name}"
            if node.op_type == "LayerNormalization":  # its inside, by default
                assert all(a.i == TensorProto.FLOAT for a in node.attribute if a.name == "stash_type")


@pytest.mark.parametrize("recycling", ["none", "a", "c", "d"])
def test_every_recycling_schema_becomes_graphs(cache, tmp_path, recycling):
    changes = {"depth": 2, "exits": (1, 2), "adapters": (1, 0), "recycling": recycling}
    path = save_weights(tmp_path / "schema.safetensors", lively_model(replace(TINY, **changes)))
    for name in INSTALLED_GRAPH_ENGINES:
        created = create_engine(name, path)
        created.set_template(TEMPLATES[0])
        for search in SEARCHES:
            # A whole pixel: with schema c, bf16 without AMX (an EPYC's) came to 0.51 of one.
            assert_same(answers(created, search, 2), expected_answers(path, TEMPLATES[0], search), 1 / 256)


@pytest.mark.parametrize(("worst", "code"), [([(1e-6, 1e-6)], 0), ([(1e-6, 2e-3)], 1), ([(float("nan"), 0.0)], 1)])
def test_export_fails_where_the_graphs_differ(tmp_path, weights, monkeypatch, small_graphs, capsys, worst, code):
    monkeypatch.setattr(export, "deviations", lambda *_: worst)
    assert export.main(["--model", str(weights), "--out", str(tmp_path)]) == code
    assert ("differ from PyTorch" in capsys.readouterr().err) == (code == 1)


def test_export_says_what_is_wrong(tmp_path, weights, capsys, installed):
    assert export.main(["--model", "dytrack_huge", "--out", str(tmp_path)]) == 2
    assert "shipped are" in capsys.readouterr().err
    installed("torch")
    assert export.main(["--model", str(weights), "--out", str(tmp_path)]) == 2
    assert "pip install onnx" in capsys.readouterr().err
