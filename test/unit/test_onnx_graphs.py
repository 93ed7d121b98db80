"""The network as ONNX graphs: their content, their cached folder, and the command `dytrack export`."""

import shutil
from dataclasses import replace

import pytest
from engine_answers import GRAPH_ENGINES, assert_computes, finish, needs_onnx, python
from random_network import TINY, lively_model

from dytrack_ros.cli import export
from dytrack_ros.engines import create_engine, onnx_graphs, requirements
from dytrack_ros.engines.cache import cache_folder
from dytrack_ros.engines.onnx_graphs import (
    GRAPHS_VERSION,
    MANIFEST,
    cached_graphs,
    graph_names,
    read_manifest,
    write_manifest,
)
from dytrack_ros.engines.registry import missing_packages
from dytrack_ros.model import save_weights


@pytest.fixture(scope="session")
def weights(lively_weights):
    return lively_weights


@pytest.fixture(scope="session")
def graphs(weights):
    """The folder with the graphs of the weights, in the cache that all tests share."""
    with cached_graphs(weights) as folder:
        return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder("graphs")


@pytest.fixture
def filled_cache(graphs, cache):
    """A cache folder with these graphs in it."""
    shutil.copytree(graphs, cache / graphs.name)
    return cache


@pytest.fixture
def made(monkeypatch):
    """The folders into which graphs were written, in order."""
    folders, original = [], onnx_graphs.write_graphs

    def write(weights, folder, precision="fp32"):
        folders.append(folder)
        original(weights, folder, precision)

    monkeypatch.setattr(onnx_graphs, "write_graphs", write)
    return folders


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# --- the folder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut_short(folder / "embed_template.onnx"),
        lambda folder: (folder / "embed_template.onnx").unlink(),
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: (folder / MANIFEST).write_text("[]"),
        lambda folder: (folder / MANIFEST).write_bytes(b"\xff\x00"),
        lambda folder: (folder / MANIFEST).write_text(
            (folder / MANIFEST).read_text().replace(f'version": {GRAPHS_VERSION}', 'version": 2')
        ),
    ],
    ids=["cut short", "no file", "no manifest", "list", "bytes", "older version"],
)
def test_the_manifest_tells_a_damaged_folder(tmp_path, damage):
    file = tmp_path / "embed_template.onnx"
    file.write_bytes(b"content!")
    write_manifest(tmp_path, [file], {"fact": 1})
    assert read_manifest(tmp_path)["fact"] == 1
    damage(tmp_path)
    with pytest.raises(ValueError, match=str(tmp_path)):
        read_manifest(tmp_path)


@needs_onnx
def test_graphs_are_made_once_for_all_engines_and_by_the_content_of_the_weights(cache, made, weights, tmp_path):
    renamed = shutil.copy(weights, tmp_path / "another_name.safetensors")
    for path, name in [(weights, "onnxruntime"), (renamed, "auto")]:
        assert_computes(create_engine(name, path, device="cpu"), weights)
    assert len(made) == 1
    save_weights(renamed, lively_model(seed=1))
    assert_computes(create_engine("onnxruntime", renamed), renamed)
    assert len(made) == len([path for path in cache.iterdir() if path.is_dir()]) == 2


@needs_onnx
def test_an_engine_survives_a_damaged_cache(filled_cache, graphs, made, weights):
    cut_short(filled_cache / graphs.name / "advance_2.onnx")
    assert_computes(create_engine("onnxruntime", weights), weights)
    assert len(made) == 1
    read_manifest(filled_cache / graphs.name, weights)


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


# --- the graphs ------------------------------------------------------------------------------------------------------


@needs_onnx
def test_export_writes_checked_static_graphs(tmp_path, weights, capsys):
    import onnx

    from dytrack_ros.engines.onnxruntime_engine import OnnxRuntimeEngine

    folder = tmp_path / "out"
    assert export.main(["--model", str(weights), "--out", str(folder)]) == 0
    assert capsys.readouterr().out.count("largest difference") == 3
    names = graph_names(3)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*(f"{name}.onnx" for name in names), MANIFEST])
    made = set()
    for name in names:
        model = onnx.load(folder / f"{name}.onnx")
        onnx.checker.check_model(model)
        assert [opset.version for opset in model.opset_import if opset.domain == ""] == [18]
        for value in [*model.graph.input, *model.graph.output]:
            assert all(size.dim_value > 0 for size in value.type.tensor_type.shape.dim), value.name
        assert {value.name for value in model.graph.input} <= made | {"template", "search"}
        made |= {value.name for value in model.graph.output}
    assert made >= {f"{value}_{k}" for value in ("score", "heat") for k in (1, 2, 3)}

    assert_computes(OnnxRuntimeEngine(weights, graphs=folder), weights)
    others = save_weights(tmp_path / "other.safetensors", lively_model(seed=1))
    with pytest.raises(ValueError, match="not exported from"):
        OnnxRuntimeEngine(others, graphs=folder)
    cut_short(folder / "advance_2.onnx")
    with pytest.raises(ValueError, match="damaged: advance_2.onnx"):
        OnnxRuntimeEngine(weights, graphs=folder)


@needs_onnx
def test_half_precision_graphs_are_what_tensorrt_takes(weights, capsys):
    """TensorRT computes each layer in the type that its graph says, and of its layers only the cast takes uint8."""
    import onnx
    from onnx import TensorProto

    assert export.main(["--model", str(weights), "--cache", "--precision", "fp16", "--no-check"]) == 0
    with cached_graphs(weights, "fp16") as folder:
        assert f"fp16, in {folder}\n" in capsys.readouterr().out
        graphs = {name: onnx.load(folder / f"{name}.onnx").graph for name in graph_names(3)}
    for name, graph in graphs.items():
        for value in [*graph.input, *graph.output]:
            type_ = value.type.tensor_type.elem_type
            expected = {"template": TensorProto.UINT8, "search": TensorProto.UINT8, "score": 1, "heat": 1}
            assert type_ == expected.get(value.name.rstrip("_123"), TensorProto.FLOAT16), value.name
            if type_ == TensorProto.UINT8:
                assert {node.op_type for node in graph.node if value.name in node.input} == {"Cast"}
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
    for name in ("openvino", "onnxruntime"):
        if not missing_packages(name):
            # A whole pixel: with schema c, bf16 without AMX (an EPYC's) came to 0.51 of one.
            assert_computes(create_engine(name, path), path, 1 / 256)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("worst", "code"), [([(1e-6, 1e-6)], 0), ([(1e-6, 2e-3)], 1), ([(float("nan"), 0.0)], 1)])
def test_export_fails_where_the_graphs_differ(tmp_path, weights, monkeypatch, capsys, worst, code):
    monkeypatch.setattr(export, "write_graphs", lambda weights, folder, _: write_manifest(folder, [], {"opset": 18}))
    monkeypatch.setattr(export, "differences", lambda *_: worst)
    assert export.main(["--model", str(weights), "--out", str(tmp_path)]) == code
    assert ("differ from PyTorch" in capsys.readouterr().err) == (code == 1)


def test_export_says_what_is_wrong(tmp_path, weights, capsys, monkeypatch):
    assert export.main(["--model", "dytrack_huge", "--out", str(tmp_path)]) == 2
    assert "shipped are" in capsys.readouterr().err
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: object() if name == "torch" else None)
    assert export.main(["--model", str(weights), "--out", str(tmp_path)]) == 2
    assert "pip install onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        export.main(["--cache", "--out", str(tmp_path)])
