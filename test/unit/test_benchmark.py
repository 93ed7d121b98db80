"""The command `dytrack benchmark`: its measurements, processes, peers and report."""

import json
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dytrack_ros.benchmark.benches import SyntheticFrames
from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.benchmark.peers import Peer, PeerBench, available_peers, nanotrack
from dytrack_ros.benchmark.run import BenchmarkConfig, Contestant, measure, start_peer
from dytrack_ros.benchmark.worker import Worker
from dytrack_ros.cli import benchmark
from dytrack_ros.engines.registry import missing_packages

ENGINES = [name for name in ("torch", "onnxruntime") if not missing_packages(name)]
ROUNDS, FRAMES = 2, 2


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcome(tiny_weights, tmp_path_factory):
    """What the command prints and writes."""
    out = tmp_path_factory.mktemp("benchmark") / "new" / "report.json"
    command = [sys.executable, "-m", "dytrack_ros.cli.main", "benchmark", "--model", str(tiny_weights)]
    command += ["--engines", *ENGINES, "--sizes", "96x64", "128x96", "--threads", "1", "--out", str(out)]
    command += ["--rounds", str(ROUNDS), "--frames", str(FRAMES), "--precision", "fp32"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done, json.loads(out.read_text())


def test_report_has_every_stage_head_exit_and_size(outcome):
    report = outcome[1]
    assert [entry["engine"] for entry in report["engines"]] == ENGINES
    for entry in report["engines"]:
        assert entry["model"] == "random_tiny"
        assert (entry["device"], entry["precision"]) == ("cpu", "fp32")
        assert entry["ready_s"] > 0 and entry["peak_memory_mb"] > 0
        measured = entry["model_only"]
        # A stage is run on the way to its own exit and to every later one.
        assert [stage["samples"] for stage in measured["stages"]] == [ROUNDS * FRAMES * n for n in (3, 2, 1)]
        assert {times["samples"] for times in (measured["template"], *measured["heads"], *measured["exits"])} == {
            ROUNDS * FRAMES
        }
        assert list(entry["end_to_end"]) == ["96x64", "128x96"]
        for at_size in entry["end_to_end"].values():
            assert at_size["initialize"]["samples"] == ROUNDS
            assert [times["samples"] for times in at_size["exits"]] == [ROUNDS * FRAMES] * 3
            assert all(0 < times["p50_ms"] <= times["p95_ms"] for times in at_size["exits"])
        assert np.all(np.diff([times["p50_ms"] for times in measured["exits"]]) > 0), "a deeper exit takes longer"
    assert set(machine_facts()) == set(report["machine"])
    assert report["machine"]["libraries"]["torch"] and report["machine"]["cpu"]
    assert report["settings"]["threads"] == 1 and report["command"].startswith("dytrack benchmark --model")


def test_tables_show_all_and_say_what_the_figures_are(outcome):
    printed = outcome[0].stdout
    for words in (f"{ENGINES[0]} (fp32)", "stage 3", "head 3", "128x96", "peak memory", "ratios from one run"):
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
        (["--nanotrack", "no_such_file.onnx", "x"], "no_such_file.onnx"),
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
    if not hasattr(cv2, "TrackerNano"):
        pytest.skip("this OpenCV has no NanoTrack")
    with pytest.raises(RuntimeError, match="NanoTrack: "):
        start_peer(Peer("NanoTrack", (str(unfit), str(unfit))), BenchmarkConfig(1, 1, ((96, 64),)))


def test_a_process_reports_failures_and_its_own_end():
    worker = Worker("distances", partial(SimpleNamespace, device="cpu", distance=abs, end=os._exit))
    try:
        assert worker.device == "cpu" and worker.peak_memory_mb() > 0
        with pytest.raises(RuntimeError, match="distances: AttributeError"):
            worker.ask("sum", 1)
        assert worker.ask("distance", -3) == 3, "it goes on after a failure"
        with pytest.raises(RuntimeError, match="its process has ended"):
            worker.ask("end", 1)
    finally:
        worker.stop()


class Recorder:
    """In a worker's place: notes who was asked what."""

    def __init__(self, label, asked):
        self.label, self._asked = label, asked

    def ask(self, measurement, *arguments):
        self._asked.append((self.label, measurement, *arguments[:-1]))
        return {("template",): [1.0]}

    def peak_memory_mb(self):
        return 5.0


def test_contestants_take_turns():
    asked = []
    torch_, openvino = (Contestant(Recorder(name, asked), name, "model") for name in ("torch", "openvino"))
    kcf = Contestant(Recorder("KCF", asked), "KCF")
    small, large = (96, 64), (128, 96)
    measure([torch_, openvino, kcf], BenchmarkConfig(rounds=2, frames=7, sizes=(small, large)))
    assert asked[:4] == [
        ("torch", "model_only"), ("openvino", "model_only"), ("KCF", "end_to_end", small, 0),
        ("torch", "end_to_end", small, 0),
    ]  # fmt: skip
    second = asked[len(asked) // 2 :]
    assert second[0] == ("openvino", "model_only"), "another one begins"
    assert sorted(second) == sorted((*asked[i][:3], *([1] if len(asked[i]) == 4 else [])) for i in range(len(second)))
    assert torch_.samples == {("template",): [1.0] * 6} and torch_.peak_memory_mb == 5.0


# --- peers ------------------------------------------------------------------------------------------------------------


def test_missing_peers_are_explained(monkeypatch):
    for name in ("TrackerKCF", "TrackerCSRT"):
        monkeypatch.delattr(cv2, name, raising=False)
    monkeypatch.setattr(cv2, "TrackerNano", object, raising=False)
    peers, missing = available_peers()
    assert peers == [] and "opencv-contrib-python-headless" in missing["CSRT"] and "--nanotrack" in missing["NanoTrack"]
    monkeypatch.setattr(cv2, "TrackerKCF", object, raising=False)
    assert available_peers([__file__, __file__])[0] == [Peer("KCF"), Peer("NanoTrack", (__file__, __file__))]
    monkeypatch.delattr(cv2, "TrackerNano")
    with pytest.raises(ValueError, match="NanoTrack: not in this OpenCV"):
        nanotrack([__file__, __file__])


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
    samples = PeerBench(Peer("KCF"), None).end_to_end((96, 64), 0, 6)
    assert samples[(96, 64), "lost"] == [1, 0] * 3, "after the unmeasured first frame"
    assert len(samples[(96, 64), "track"]) == 6 and len(samples[(96, 64), "initialize"]) == 1


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (640, 480), (300, 1000)])
def test_synthetic_target_moves_smoothly_inside_the_image(size):
    frames = SyntheticFrames(size)
    boxes = []
    for image, (x, y, w, h) in frames.clip(3, 40):
        assert image.shape == (size[1], size[0], 3) and image.dtype == np.uint8
        assert min(x, y) >= 0 and x + w <= size[0] and y + h <= size[1]
        boxes.append((x, y))
    steps = np.linalg.norm(np.diff(boxes, axis=0), axis=1)
    assert steps.any() and steps.max() <= 0.08 * w + 1.5, "whole pixels"
    again = [box[:2] for _, box in SyntheticFrames(size).clip(3, 40)]
    assert again == boxes


# --- the machine ------------------------------------------------------------------------------------------------------


def test_peak_memory_counts_what_was_given_back():
    program = "import numpy as np; from dytrack_ros.benchmark.machine import peak_memory_mb as peak; before = peak()\n"
    program += "np.ones(20_000_000); print(before, peak())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    if told[0] == "None":
        pytest.skip("Linux only")
    before, after = map(float, told)
    assert after - before == pytest.approx(160, rel=0.1)
