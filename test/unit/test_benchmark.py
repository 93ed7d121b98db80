"""The command `dytrack benchmark`: its measurements, processes, peers and report."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from random_network import TINY, random_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import dytrack_ros
from dytrack_ros.benchmark import peers as benchmark_peers
from dytrack_ros.benchmark.benches import MatrixBench, open_frames
from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.benchmark.peers import Peer, PeerBench, available_peers, find_peers
from dytrack_ros.benchmark.run import BenchmarkConfig, Contestant, Start, measure
from dytrack_ros.benchmark.worker import Worker
from dytrack_ros.cli import benchmark
from dytrack_ros.engines.registry import missing_packages
from dytrack_ros.model.arithmetic import Arithmetic
from dytrack_ros.model.presets import RECYCLING_SCHEMAS, DyTrackConfig

ENGINES = [name for name in ("torch", "onnxruntime") if not missing_packages(name)]
ROUNDS, FRAMES = 2, 2


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcome(tiny_weights, tmp_path_factory):
    """What the command prints and writes."""
    out = tmp_path_factory.mktemp("benchmark") / "new" / "report.json"
    command = [sys.executable, "-m", "dytrack_ros.cli.benchmark", "--model", str(tiny_weights)]
    command += ["--engines", *ENGINES, "--sizes", "96x64", "128x96", "--threads", "1", "--out", str(out)]
    command += ["--rounds", str(ROUNDS), "--frames", str(FRAMES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done, json.loads(out.read_text())


def every_time(part):
    """All measured times in a report."""
    if isinstance(part, list):
        return [times for inner in part for times in every_time(inner)]
    if not isinstance(part, dict):
        return []
    return ([part] if "samples_ms" in part else []) + [t for inner in part.values() for t in every_time(inner)]


def test_report_has_every_stage_head_exit_and_size(outcome):
    report = outcome[1]
    assert [entry["engine"] for entry in report["engines"]] == ENGINES
    for entry in report["engines"]:
        assert entry["model"] == "random_tiny" and entry["device"] == "cpu"
        measured = entry["model_only"]
        # A stage is run on the way to its own exit and to every later one.
        assert [len(stage["samples_ms"]) for stage in measured["stages"]] == [ROUNDS * FRAMES * n for n in (3, 2, 1)]
        for times in (measured["template"], *measured["heads"], *measured["exits"]):
            assert len(times["samples_ms"]) == ROUNDS * FRAMES
        assert list(entry["end_to_end"]) == ["96x64", "128x96"]
        for at_size in entry["end_to_end"].values():
            assert len(at_size["initialize"]["samples_ms"]) == ROUNDS
            assert [len(times["samples_ms"]) for times in at_size["exits"]] == [ROUNDS * FRAMES] * 3
    for times in every_time(report):
        assert 0 < times["p50_ms"] <= times["p95_ms"]
        assert np.median(times["samples_ms"]) == pytest.approx(times["p50_ms"], abs=1e-3)


def test_a_deeper_exit_is_the_sum_of_more_stages(outcome):
    for entry in outcome[1]["engines"]:
        measured = entry["model_only"]
        # Samples of one frame in one turn, from the exit's own pass: its first stages and its head are parts of it.
        for depth, (head, leaving) in enumerate(zip(measured["heads"], measured["exits"], strict=True), start=1):
            assert all(np.array(head["samples_ms"]) < leaving["samples_ms"])
            fastest = sum(min(stage["samples_ms"]) for stage in measured["stages"][:depth])
            assert fastest <= min(leaving["samples_ms"])
        assert np.all(np.diff(np.cumsum([stage["p50_ms"] for stage in measured["stages"]])) > 0)


def test_ratios_are_to_the_torch_engine_of_the_same_run(outcome):
    engines = {entry["engine"]: entry for entry in outcome[1]["engines"]}
    own_ratios = [times["times_as_fast_as_torch"] for times in every_time(engines["torch"])]
    assert own_ratios and set(own_ratios) == {1.0}
    for entry in engines.values():
        for ours, torchs in zip(every_time(entry), every_time(engines["torch"]), strict=True):
            assert ours["times_as_fast_as_torch"] == pytest.approx(torchs["p50_ms"] / ours["p50_ms"])


def test_start_memory_and_machine_are_told(outcome):
    report = outcome[1]
    macs = report["models"]["random_tiny"]
    for entry in report["engines"]:
        for times, count in zip(entry["model_only"]["exits"], macs["exit_macs"], strict=True):
            assert times["gmac_per_s"] == pytest.approx(count / (times["p50_ms"] / 1e3) / 1e9)
        assert entry["ready"]["seconds"] > 0
        assert 0 < entry["memory"]["before_engine_mb"] < entry["memory"]["peak_mb"]
    ready = {entry["engine"]: entry["ready"] for entry in report["engines"]}
    assert ready["torch"]["graphs"] == "none needed" and ready["torch"]["cold_seconds"] is None
    assert all(ready[name]["graphs"] == "cached" for name in ENGINES if name != "torch")
    assert set(machine_facts()) == set(report["machine"])
    assert report["machine"]["libraries"]["torch"] and report["machine"]["cpu"]
    assert (
        report["settings"]["threads"] == 1
        and report["date"]
        and report["command"].startswith("dytrack benchmark --model")
    )


def test_tables_show_all_and_say_what_the_figures_are(outcome):
    printed = outcome[0].stdout
    for words in ("stage 3", "head 3", "achieved GMAC/s", "128x96", "peak memory", "ratios from one run", "(1.0x)"):
        assert words in printed
    for peer in outcome[1]["not_measured"]:
        assert f"{peer}: not measured; " in printed
    assert "measuring" in outcome[0].stderr, "progress"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engines", "abacus"], "abacus"),
        (["--engines", "auto"], "auto"),
        (["--sizes", "640"], "WIDTHxHEIGHT"),
        (["--sizes", "32x480"], "at least 64"),
        (["--rounds", "0"], "at least 1"),
        (["--model", "no_such_model"], "no_such_model"),
        (["--device", "gpu"], "cuda[:N]"),
        (["--vittrack", "no_such_file.onnx"], "no_such_file.onnx"),
        (["--data", "no_such_folder"], "no sequences"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(arguments, said, tiny_weights, capsys):
    try:
        status = benchmark.main(["--model", str(tiny_weights), *arguments])
    except SystemExit as refused:
        status = refused.code
    assert status == 2 and said in capsys.readouterr().err


def test_engines_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setattr(benchmark, "missing_packages", lambda name: [] if name == "torch" else [name, "onnx"])
    engines, missing = benchmark.wanted_engines(None)
    assert engines == ["torch"] and missing["openvino"] == "it needs: pip install openvino onnx"
    with pytest.raises(ImportError, match="'openvino' is not installed, it needs: pip install openvino onnx"):
        benchmark.wanted_engines(["torch", "openvino"])


# --- processes and turns ----------------------------------------------------------------------------------------------


def test_a_process_that_cannot_start_says_why(tmp_path):
    unfit = tmp_path / "unfit.onnx"
    unfit.write_text("no network")
    peer = Peer("VitTrack", (str(unfit),))
    if not hasattr(cv2, benchmark_peers.CLASSES[peer.name]):
        pytest.skip("this OpenCV has no VitTrack")
    with pytest.raises(RuntimeError, match="VitTrack: error: "):
        Worker("VitTrack", PeerBench, peer, 1, None)


@pytest.mark.parametrize("python", [None, sys.executable])
def test_a_process_reports_failures_and_its_own_end(python, monkeypatch):
    monkeypatch.setenv(
        "PYTHONPATH", str(Path(dytrack_ros.__file__).parents[1]) if python is None else "/no/such/folder"
    )
    worker = Worker("matrix product", MatrixBench, python=python)
    try:
        assert worker.facts["device"] == "cpu" and worker.memory_before_mb > 0
        with pytest.raises(RuntimeError, match="matrix product: AttributeError"):
            worker.ask("quotient", 1)
        (seconds,) = worker.ask("product", 3).values()
        assert len(seconds) == 3 and min(seconds) > 0, "it goes on after a failure"
        worker._process.terminate()
        with pytest.raises(RuntimeError, match="its process has ended"):
            worker.ask("product", 1)
    finally:
        worker.stop()


def add(tracker, *numbers):
    """A function of this package's user that a peer's process runs."""
    return type(tracker).__name__, sum(numbers)


def test_a_peers_process_runs_a_function_with_its_tracker(monkeypatch):
    monkeypatch.setattr(Peer, "create", lambda self: Forgetful())
    assert PeerBench(Peer("KCF"), None, None).run(add, 1, 2) == ("PeerTracker", 3)
    assert find_peers(sys.executable, None, None) == available_peers()


def test_another_python_that_cannot_serve_says_why(tmp_path, tiny_weights, capsys):
    venv.create(tmp_path / "bare", with_pip=False)
    bare = str(tmp_path / "bare" / "bin" / "python")
    with pytest.raises(
        RuntimeError, match=r"No module named .*it needs opencv-contrib-python-headless, numpy and safetensors"
    ):
        find_peers(bare, None, None)
    assert benchmark.main(["--model", str(tiny_weights), "--peers-python", str(tmp_path)]) == 2
    assert "give the path of a Python interpreter" in capsys.readouterr().err


class Recorder:
    """In a worker's place: notes who was asked what."""

    def __init__(self, label, asked):
        self.label, self._asked = label, asked

    def ask(self, measurement, *arguments):
        self._asked.append((self.label, measurement, *arguments[:-1]))
        return {("product",): [1.0]}

    def peak_memory_mb(self):
        return 5.0


def test_contestants_take_turns():
    asked = []
    start = Start(1.0, "none needed")
    torch_, openvino = (Contestant(Recorder(name, asked), start, name, "model") for name in ("torch", "openvino"))
    kcf = Contestant(Recorder("KCF", asked), start, "KCF")
    matrix = Contestant(Recorder("matrix", asked), start)
    small, large = (96, 64), (128, 96)
    measure([torch_, openvino, kcf, matrix], BenchmarkConfig(rounds=2, frames=7, sizes=(small, large)))
    assert asked[:5] == [
        ("torch", "model_only"), ("openvino", "model_only"), ("KCF", "end_to_end", small, 0), ("matrix", "product"),
        ("torch", "end_to_end", small, 0),
    ]  # fmt: skip
    second = asked[len(asked) // 2 :]
    assert second[0] == ("openvino", "model_only"), "another one begins"
    assert sorted(second) == sorted((*asked[i][:3], *([1] if len(asked[i]) == 4 else [])) for i in range(len(second)))
    assert torch_.samples == {("product",): [1.0] * 6} and torch_.peak_memory_mb == 5.0


# --- peers ------------------------------------------------------------------------------------------------------------


def test_missing_peers_are_explained(monkeypatch):
    for name in ("TrackerKCF", "TrackerCSRT"):
        monkeypatch.delattr(cv2, name, raising=False)
    monkeypatch.setattr(cv2, "TrackerVit", object, raising=False)
    peers, missing = available_peers()
    assert peers == []
    assert "opencv-contrib-python-headless" in missing["KCF"] and "opencv-contrib-python-headless" in missing["CSRT"]
    assert "--vittrack" in missing["VitTrack"]
    monkeypatch.setattr(cv2, "TrackerKCF", object, raising=False)
    monkeypatch.setattr(cv2, "TrackerNano", object, raising=False)
    peers, missing = available_peers(nanotrack=(__file__, __file__))
    assert peers == [Peer("KCF"), Peer("NanoTrack", (__file__, __file__))]
    assert set(missing) == {"CSRT", "VitTrack"}


class Forgetful:
    """A tracker that loses the target on every second frame."""

    def init(self, image, box):
        assert all(isinstance(value, int) for value in box)
        self._updates = 0

    def update(self, image):
        self._updates += 1
        return self._updates % 2 == 1, (0, 0, 1, 1)


def test_a_peer_that_loses_the_target_starts_anew_and_it_is_counted(monkeypatch):
    monkeypatch.setattr(Peer, "create", lambda self: Forgetful())
    samples = PeerBench(Peer("KCF"), None, None).end_to_end((96, 64), 0, 6)
    assert samples[(96, 64), "lost"] == [1, 0] * 3, "after the unmeasured first frame"
    assert len(samples[(96, 64), "track"]) == 6 and len(samples[(96, 64), "initialize"]) == 1


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (640, 480), (300, 1000)])
def test_synthetic_target_moves_smoothly_inside_the_image(size):
    frames = open_frames(size)
    boxes = []
    for image, (x, y, w, h) in frames.clip(3, 40):
        assert image.shape == (size[1], size[0], 3) and image.dtype == np.uint8
        assert min(x, y) >= 0 and x + w <= size[0] and y + h <= size[1]
        boxes.append((x, y))
    steps = np.linalg.norm(np.diff(boxes, axis=0), axis=1)
    assert steps.any() and steps.max() <= 0.08 * w + 1.5, "whole pixels"
    again = [box[:2] for _, box in open_frames(size).clip(3, 40)]
    assert again == boxes


def test_sequence_frames_skip_absences_and_turn_round(tmp_path):
    images = tmp_path / "one" / "img"
    images.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(images / f"{number}.png"), np.full((50, 100, 3), 80 * number, np.uint8))
    (tmp_path / "one" / "groundtruth.txt").write_text("0,0,10,10\nnan,nan,nan,nan\n20,0,10,10\n")
    clip = list(open_frames((200, 200), str(tmp_path)).clip(5, 4))
    assert [int(image[0, 0, 0]) for image, _ in clip] == [0, 160, 0, 160]
    assert clip[1][1] == (40, 0, 20, 40) and clip[1][0].shape == (200, 200, 3)


# --- arithmetic -------------------------------------------------------------------------------------------------------


def counted(run) -> int:
    # Fused attention is not counted by torch.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


@torch.inference_mode()
@pytest.mark.parametrize("schema", RECYCLING_SCHEMAS)
def test_arithmetic_is_what_torch_counts(schema):
    config = DyTrackConfig(**{**TINY.to_dict(), "recycling": schema})
    model = random_model(config).fuse()
    arithmetic = Arithmetic.of(config)
    template, search = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 256, 256)
    assert counted(lambda: model.embedding.embed_template(template)) == arithmetic.template
    in_search = counted(lambda: model.embedding.embed_search(search))
    tokens, recycled = torch.randn(1, config.tokens, config.width), torch.randn(1, config.tokens, config.width)
    for k in range(3):

        def stage(k=k):
            model.decide(k, model.stage(k, tokens), recycled if k else None)

        assert counted(stage) + (0 if k else in_search) == arithmetic.stages[k]
        assert counted(lambda k=k: model.locate(k, recycled)) == arithmetic.head


# --- the machine ------------------------------------------------------------------------------------------------------


def test_peak_memory_counts_what_was_given_back():
    program = "import numpy as np; from dytrack_ros.benchmark.machine import peak_memory_mb as peak; before = peak()\n"
    program += "np.ones(20_000_000); print(before, peak())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    if told[0] == "None":
        pytest.skip("Linux only")
    before, after = map(float, told)
    assert after - before == pytest.approx(160, rel=0.1)
