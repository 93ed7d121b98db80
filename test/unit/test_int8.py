"""int8: the engine on quantised graphs, and the command `dytrack quantise`, with NNCF where it is installed."""

import importlib.util

import openvino as ov
import pytest
from engine_answers import SCORE_TOLERANCE, SEARCHES, TEMPLATES, answers, assert_computes, assert_same, expected_answers
from training_layouts import make_shard

from dytrack_ros.cli import quantise
from dytrack_ros.engines import FallbackEngine, create_engine, requirements
from dytrack_ros.engines.cache import replace_cached
from dytrack_ros.engines.int8_export import deviations, make_int8_graphs
from dytrack_ros.engines.onnx_graphs import (
    Crops,
    cached_graphs,
    graph_file,
    graph_names,
    int8_file,
    int8_folder,
    read_manifest,
    write_manifest,
)
from dytrack_ros.tracking import DyTracker

needs_nncf = pytest.mark.skipif(
    importlib.util.find_spec("nncf") is None, reason="nncf is not installed: with what it needs it takes 220 MB"
)
CROPS = [Crops(template, search) for template in TEMPLATES for search in SEARCHES]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_stand_in(weights, folder):
    """Write the fp32 graphs in OpenVINO's format: the engine cannot tell them from quantised ones."""
    with cached_graphs(weights) as graphs:
        facts = read_manifest(graphs)
        for name in graph_names(3):
            ov.save_model(
                ov.Core().read_model(graph_file(graphs, name)), int8_file(folder, name), compress_to_fp16=False
            )
    write_manifest(folder, [*folder.glob("*.xml"), *folder.glob("*.bin")], facts | {"precision": "int8"})


@pytest.fixture
def stand_in(lively_weights):
    folder = int8_folder(lively_weights)
    replace_cached(folder, lambda partial: write_stand_in(lively_weights, partial))
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_the_engine_runs_the_quantised_graphs(stand_in, lively_weights):
    created = create_engine("auto", lively_weights, threads=1, precision="int8")
    assert_computes(created, lively_weights)
    assert (created.name, created.precision, created.chosen_because) == (
        "openvino", "int8", "precision int8 was asked for",
    )  # fmt: skip
    tracker = DyTracker.from_pretrained(lively_weights, precision="int8", on_fallback=print)
    assert tracker.engine_name == "openvino (cpu, int8)"
    assert DyTracker.from_pretrained(lively_weights, engine="openvino").engine_name == "openvino (cpu)"


def test_without_graphs_or_with_damaged_ones_the_error_tells_the_command(stand_in, lively_weights, tiny_weights):
    for make in (create_engine, FallbackEngine):
        with pytest.raises(FileNotFoundError, match=f"quantise --model {tiny_weights} --data"):
            make("auto", tiny_weights, precision="int8")
    int8_file(stand_in, "advance_2").write_text("")
    with pytest.raises(ValueError, match="damaged: advance_2.xml.*quantise --model"):
        create_engine("auto", lively_weights, precision="int8")


def test_if_int8_fails_openvino_continues_in_its_own_precision(stand_in, lively_weights):
    engine_ = FallbackEngine("auto", lively_weights, precision="int8", on_fallback=(told := []).append)
    engine_.set_template(TEMPLATES[0])
    engine_._engine._run_stage = lambda position: float("nan")
    assert_same(answers(engine_, SEARCHES[0]), expected_answers(lively_weights, TEMPLATES[0], SEARCHES[0]))
    assert (engine_.name, engine_.precision) == ("openvino", "auto")
    assert told[0].startswith("openvino (cpu, int8) failed") and "openvino is loaded instead" in told[0]


def test_deviations_tell_the_networks_own_graphs_from_others(stand_in, lively_weights, tiny_weights):
    """By the scores: boxes of random weights often have no area, and no overlap then."""
    own = deviations(lively_weights, CROPS[:2], stand_in)
    assert all(deviation.score < SCORE_TOLERANCE for deviation in own)
    sha256 = read_manifest(stand_in)["weights_sha256"]
    write_stand_in(tiny_weights, stand_in)
    files = [*stand_in.glob("*.xml"), *stand_in.glob("*.bin")]
    write_manifest(stand_in, files, read_manifest(stand_in) | {"weights_sha256": sha256})
    others = deviations(lively_weights, CROPS[:2], stand_in)
    assert max(deviation.score for deviation in others) > SCORE_TOLERANCE


@pytest.fixture
def shard(tmp_path):
    return make_shard(tmp_path / "some.tar")


def test_quantise_says_what_is_wrong(shard, lively_weights, capsys, monkeypatch):
    monkeypatch.setattr(quantise, "not_installed", lambda packages: [])
    arguments = ["--model", str(lively_weights), "--data", str(shard)]
    assert quantise.main([*arguments, "--pairs", "14", "--check-pairs", "1"]) == 2
    assert "--data has 14 images, but --pairs and --check-pairs ask for 15" in capsys.readouterr().err
    monkeypatch.setattr(quantise, "not_installed", requirements.not_installed)
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None if name == "nncf" else object())
    assert quantise.main(arguments) == 2
    assert "making int8 graphs needs, once: pip install nncf" in capsys.readouterr().err


@needs_nncf
def test_quantise_makes_graphs_that_the_engine_takes(cache, shard, tiny_weights, capsys, monkeypatch):
    for limit in ("LARGEST_BOX_DISTANCE", "LARGEST_SCORE_DIFFERENCE"):  # boxes of random weights may have no area
        monkeypatch.setattr(f"dytrack_ros.engines.int8_export.{limit}", 1.0)
    arguments = ["--model", str(tiny_weights), "--data", str(shard), "--pairs", "2", "--check-pairs", "2"]
    code, said = quantise.main(arguments), capsys.readouterr()
    assert code == 0, said.err
    assert said.out.count("mean difference from fp32") == 3
    assert create_engine("auto", tiny_weights, precision="int8").exit_count == 3
    assert "FakeQuantize" in int8_file(int8_folder(tiny_weights), "advance_1").read_text()
    assert "FakeQuantize" not in int8_file(int8_folder(tiny_weights), "embed_template").read_text()


@needs_nncf
def test_graphs_too_far_from_fp32_are_refused(cache, tiny_weights, monkeypatch):
    monkeypatch.setattr("dytrack_ros.engines.int8_export.LARGEST_BOX_DISTANCE", -1.0)
    with pytest.raises(ValueError, match="too far from fp32 and are not kept"):
        make_int8_graphs(tiny_weights, CROPS[:1], CROPS[1:2])
    assert not int8_folder(tiny_weights).exists()
