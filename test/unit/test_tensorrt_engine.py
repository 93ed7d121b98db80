"""The TensorRT engine: what can be known of it without a GPU. TensorRT and the driver are stand-ins where they are needed;
test_engines.py runs it through the suite of all engines."""

import gc
import importlib.machinery
import json
import logging
import sys
import threading
import types

import numpy as np
import pytest
from engine_answers import (
    BOX_TOLERANCE,
    SCORE_TOLERANCE,
    SEARCHES,
    TEMPLATES,
    answers,
    assert_same,
    expected_answers,
    finish,
    python,
)
from tensorrt_stand_in import stand_in

from dytrack_ros.engines import create_engine
from dytrack_ros.engines import onnx_export as export
from dytrack_ros.engines import registry as engine
from dytrack_ros.engines.cache import cache_folder, cached_graphs
from dytrack_ros.engines.onnx_graphs import PRECISIONS
from dytrack_ros.engines.registry import TENSORRT_ADVICE
from dytrack_ros.engines.tensorrt import cuda_driver
from dytrack_ros.engines.tensorrt import plans as tensorrt_plans
from dytrack_ros.engines.tensorrt.cuda_driver import CudaDevice, CudaError
from dytrack_ros.utils import file_sha256

needs_onnx = pytest.mark.skipif(
    bool(engine.missing_packages("onnxruntime")), reason="the stand-in of TensorRT needs onnx and onnxruntime"
)


@pytest.fixture(scope="session")
def graphs(lively_weights):
    """Graphs of these weights by precision, in the cache that all tests share."""
    folders = {}
    for precision in PRECISIONS:
        with cached_graphs(lively_weights, precision) as folder:
            folders[precision] = folder
    return folders


@pytest.fixture
def cache(tmp_path, monkeypatch, graphs):
    """A cache folder of its own that has the graphs but no plans."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache_folder().mkdir(parents=True)
    for folder in graphs.values():
        (cache_folder() / folder.name).symlink_to(folder)
    return cache_folder("plans")


# --- plans -----------------------------------------------------------------------------------------------------------


@needs_onnx
def test_plans_are_built_once(tensorrt, cache, lively_weights):
    first, second = (create_engine("tensorrt", lively_weights) for _ in range(2))
    assert tensorrt.builds == 7
    for each in (first, second):
        each.set_template(TEMPLATES[0])
    np.testing.assert_array_equal(answers(first, SEARCHES[0]), answers(second, SEARCHES[0]))
    (folder,) = cache.iterdir()
    facts = json.loads((folder / "graphs.json").read_text())
    assert facts["tensorrt"] == "10.3.0" and facts["precision"] == "fp16"
    assert set(facts["files"]) == {path.name for path in folder.glob("*.plan")} and len(facts["files"]) == 7


@needs_onnx
def test_a_damaged_plan_is_built_again(tensorrt, cache, lively_weights):
    create_engine("tensorrt", lively_weights)
    (folder,) = cache.iterdir()
    (folder / "advance_2.plan").write_bytes(b"plan:")
    create_engine("tensorrt", lively_weights)
    assert tensorrt.builds == 14
    assert list(cache.iterdir()) == [folder]


@needs_onnx
def test_another_version_or_gpu_has_plans_of_its_own(cuda_stand_in, cache, lively_weights):
    names = []
    for version, gpu in [("10.3.0", "Orin (nvgpu)"), ("10.13.3.9", "Orin (nvgpu)"), ("10.3.0", "NVIDIA H200")]:
        with stand_in(cuda_stand_in, version) as tensorrt:
            tensorrt.set_gpus(1, gpu)
            create_engine("tensorrt", lively_weights)
            assert tensorrt.builds == 7
        names = sorted(names + [path.name for path in cache.iterdir() if path.name not in names])
    weights = file_sha256(lively_weights)[:32]
    ends = [
        "tensorrt_10.13.3.9-sm_87-Orin_nvgpu",
        "tensorrt_10.3.0-sm_87-NVIDIA_H200",
        "tensorrt_10.3.0-sm_87-Orin_nvgpu",
    ]
    assert names == [
        f"{weights}-{tensorrt_plans.__version__}-{tensorrt_plans.PLANS_VERSION}-fp16-{end}" for end in ends
    ]


@needs_onnx
def test_with_its_plans_built_it_needs_no_torch_and_no_graphs(tensorrt, cuda_stand_in, cache, lively_weights):
    create_engine("tensorrt", lively_weights)
    for link in cache_folder().iterdir():
        link.unlink()
    code = f"""
import sys
sys.path += {sys.path!r}
from pathlib import Path
import numpy as np
from tensorrt_stand_in import stand_in
from dytrack_ros.tracking import DyTracker

with stand_in(Path({str(cuda_stand_in)!r})) as module:
    tracker = DyTracker.from_pretrained({str(lively_weights)!r}, engine="tensorrt")
    tracker.initialize(np.zeros((240, 320, 3), np.uint8), (100, 100, 40, 40))
    tracker.track(np.zeros((240, 320, 3), np.uint8))
    print(tracker.engine.name, module.builds, sorted({{"torch", "onnx"}} & set(sys.modules)))
"""
    assert finish(python(code)).strip() == "tensorrt 0 []"


def test_without_torch_it_is_said_how_to_bring_graphs(tmp_path, monkeypatch, lively_weights):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install torch onnx; or make them on another machine by `export --cache"):
        cached_graphs(lively_weights, "fp16").__enter__()
    assert list((tmp_path / "dytrack_ros" / "graphs").iterdir()) == []


# --- running ---------------------------------------------------------------------------------------------------------


@needs_onnx
def test_it_computes_in_any_thread(tensorrt, cache, lively_weights):
    created = create_engine("tensorrt", lively_weights)
    created.set_template(TEMPLATES[0])
    expected, got = answers(created, SEARCHES[0]), []

    def compute():
        created.set_template(TEMPLATES[0])
        got.append(answers(created, SEARCHES[0]))

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(got, [expected])


@needs_onnx
def test_a_values_memory_is_shared_by_its_graphs_and_given_back(tensorrt, cache, lively_weights):
    before = tensorrt.live_allocations()
    created = create_engine("tensorrt", lively_weights)
    values = 2 + 1 + 2 + 3 + 3 + 3  # crops, template tokens, tokens, recycled, scores, boxes
    assert tensorrt.live_allocations() - before == values + 4 + 1  # staging arrays, stream
    del created
    gc.collect()
    assert tensorrt.live_allocations() == before


@needs_onnx
@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("Builder", r"TensorRT 10\.3\.0 cannot start"),
        ("parse_from_file", r"cannot read .*embed_template\.onnx: error 0: no importer for this node"),
        ("build_serialized_network", "cannot build embed_template: build_serialized_network is out of order"),
        (
            "deserialize_cuda_engine",
            r"cannot load .*embed_template\.plan \(deserialize_cuda_engine is out of order\); del",
        ),
        ("create_execution_context", "cannot load .*create_execution_context is out of order"),
        ("set_tensor_address", "refuses memory for template of .*set_tensor_address is out of order"),
        ("execute_async_v3", "failed in embed_template: execute_async_v3 is out of order"),
    ],
)
def test_what_fails_in_tensorrt_is_said(tensorrt, cache, lively_weights, caplog, function, message):
    tensorrt.failing = {function}
    with pytest.raises(RuntimeError, match=message):
        create_engine("tensorrt", lively_weights)
    if "out of order" in message:
        assert (logging.ERROR, f"TensorRT: {function} is out of order") in [
            (record.levelno, record.getMessage()) for record in caplog.records
        ]


@needs_onnx
@pytest.mark.parametrize("distortion", [0.03, float("nan")])
def test_where_fp16_goes_wrong_fp32_is_taken(tensorrt, cache, lively_weights, caplog, distortion):
    assert create_engine("tensorrt", lively_weights).precision == "fp16"
    tensorrt.distortion = {"fp16": distortion}
    created = create_engine("tensorrt", lively_weights)
    assert created.precision == "fp32"
    assert "on Orin (nvgpu) computes scores or boxes in fp16 that differ from PyTorch's by" in caplog.text
    created.set_template(TEMPLATES[0])
    assert_same(answers(created, SEARCHES[0]), expected_answers(lively_weights, TEMPLATES[0], SEARCHES[0]))
    tensorrt.distortion = {"fp16": distortion, "fp32": distortion}
    with pytest.raises(RuntimeError, match="boxes in fp32 that differ from PyTorch's by .*: use another engine"):
        create_engine("tensorrt", lively_weights)


@needs_onnx
def test_the_graphs_that_it_runs_agree_with_pytorch(graphs, lively_weights):
    """The types in them are what TensorRT computes in: the same rounding, but for the order of sums."""
    for score, box in export.deviations(lively_weights, graphs["fp16"]):
        assert score < SCORE_TOLERANCE and box < BOX_TOLERANCE


# --- what is missing -------------------------------------------------------------------------------------------------


def module(**attributes):
    fake = types.ModuleType("tensorrt")
    fake.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
    fake.__dict__.update(attributes)
    return fake


def test_without_tensorrt_it_is_said_what_to_install(monkeypatch, lively_weights):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError) as error:
        create_engine("tensorrt", lively_weights)
    assert str(error.value) == f"engine 'tensorrt' is not installed; it needs: {TENSORRT_ADVICE}"
    assert "JetPack 6.1" in TENSORRT_ADVICE and "pip install tensorrt" in TENSORRT_ADVICE


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        (module(__version__="8.6.2"), r"^TensorRT 8\.6\.2 is too old .*TensorRT 10 or newer.*JetPack 6\.1"),
        (module(__version__="9.3.0"), r"^TensorRT 9\.3\.0 is too old"),
        (module(), "none of NVIDIA's"),
        (None, r"cannot be loaded .*TensorRT 10 or newer"),  # None in sys.modules: the import fails
    ],
    ids=["JetPack 6.0's", "9", "another module", "broken"],
)
def test_a_tensorrt_that_will_not_do_is_refused(monkeypatch, fake, message):
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    with pytest.raises(ImportError, match=message):
        tensorrt_plans.import_tensorrt()


@pytest.mark.parametrize("version", ["10.0.1", "10.3.0", "11.4.0.106"])
def test_newer_versions_are_taken(monkeypatch, version):
    monkeypatch.setitem(sys.modules, "tensorrt", module(__version__=version))
    assert tensorrt_plans.import_tensorrt().__version__ == version


def test_importing_the_engines_leaves_tensorrt_alone(tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise SystemExit('imported')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import dytrack_ros.engines.tensorrt.engine, dytrack_ros.tracking
print(sorted({{"tensorrt", "torch", "onnx"}} & set(sys.modules)))
"""
    assert finish(python(code)).strip() == "[]"


def test_it_wants_a_gpu(tensorrt, lively_weights, monkeypatch):
    with pytest.raises(ValueError, match="'tensorrt' computes on a GPU: for device 'cpu' use engine 'openvino'"):
        create_engine("tensorrt", lively_weights, device="cpu")
    with pytest.raises(ValueError, match=r"device 'cuda:1' is not there: the NVIDIA driver shows 1 device\(s\)"):
        create_engine("tensorrt", lively_weights, device="cuda:1")
    tensorrt.set_gpus(0)
    with pytest.raises(ValueError, match="device 'cuda:0' is not there"):
        create_engine("tensorrt", lively_weights)
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda_that_is_not_there.so")
    with pytest.raises(ImportError, match="there is no NVIDIA driver: libcuda_that_is_not_there"):
        create_engine("tensorrt", lively_weights)


# --- the driver ------------------------------------------------------------------------------------------------------


def test_the_driver_describes_its_device(tensorrt):
    gpu = CudaDevice()
    assert gpu.name == "Orin (nvgpu)" and gpu.compute_capability == (8, 7)


def test_what_goes_up_comes_down(tensorrt):
    gpu = CudaDevice()
    there, back = gpu.staging_array((2, 3), np.float32), gpu.staging_array((2, 3), np.float32)
    there[:] = np.arange(6).reshape(2, 3)
    address = gpu.allocate(there.nbytes)
    gpu.upload(there, address)
    gpu.download(address, back)
    gpu.synchronize()
    np.testing.assert_array_equal(back, there)


def test_errors_of_the_driver_have_a_name(tensorrt):
    gpu = CudaDevice()
    with pytest.raises(
        CudaError, match=r"cuMemAlloc_v2 failed: CUDA_ERROR_OUT_OF_MEMORY, out of memory \(CUDA error 2\)"
    ):
        gpu.allocate(2**50)
    found = []

    def elsewhere():
        with pytest.raises(CudaError) as error:
            gpu.allocate(4)
        found.append(error.value.code)
        gpu.make_current()
        gpu.allocate(4)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [201]  # no device is current in a new thread


# --- the choice ------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """Pretends what this machine is."""

    def pretend(jetson=False, driver=True, torch=False, tensorrt=None):
        monkeypatch.setattr(engine, "is_jetson", lambda: jetson)
        monkeypatch.setattr(engine, "has_gpu_driver", lambda: driver)
        monkeypatch.setattr(engine, "cuda_is_present", lambda: torch)
        monkeypatch.setattr(engine, "tensorrt_version", lambda: tensorrt)
        monkeypatch.setattr(engine, "missing_packages", lambda name: [] if name in ("openvino", "torch") else [name])

    return pretend


@pytest.mark.parametrize(
    ("facts", "device", "expected", "reason"),
    [
        ({"jetson": True, "torch": True, "tensorrt": "10.3.0"}, "auto", "tensorrt", "a Jetson's, and TensorRT 10.3.0"),
        ({"jetson": True, "tensorrt": "10.3.0"}, "cuda", "tensorrt", "device cuda was asked for, a Jetson's"),
        ({"jetson": True, "tensorrt": "10.3.0"}, "cpu", "openvino", "device cpu was asked for, openvino is installed"),
        ({"jetson": True, "torch": True}, "auto", "torch", "this machine has a CUDA device"),
        ({"jetson": True}, "auto", "openvino", "neither PyTorch nor TensorRT can use the GPU, openvino is"),
        ({"torch": True, "tensorrt": "10.16.1"}, "auto", "torch", "this machine has a CUDA device"),
        ({"tensorrt": "10.16.1"}, "auto", "tensorrt", "which TensorRT 10.16.1 can use and PyTorch cannot"),
        ({}, "cuda:1", "torch", "device cuda:1 was asked for"),
        ({"driver": False}, "auto", "openvino", "no CUDA device, openvino is installed"),
    ],
)
def test_auto_takes_tensorrt_on_a_jetson_and_where_torch_cannot(machine, facts, device, expected, reason):
    machine(**facts)
    name, words = engine.choose_engine(device)
    assert name == expected and reason in words


def test_a_jetson_is_known_by_its_device_files(tmp_path):
    (tmp_path / "nvidia0").touch()
    assert engine.has_gpu_driver(tmp_path) and not engine.is_jetson(tmp_path)
    (tmp_path / "nvhost-gpu").touch()
    assert engine.is_jetson(tmp_path)
    assert not engine.has_gpu_driver(tmp_path / "missing")


def test_tensorrt_counts_only_where_it_can_run(tensorrt, monkeypatch):
    assert engine.tensorrt_version() == "10.3.0"
    tensorrt.__version__ = "8.6.2"
    assert engine.tensorrt_version() is None
    tensorrt.__version__ = "10.3.0"
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda_that_is_not_there.so")
    assert engine.tensorrt_version() is None
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    assert engine.tensorrt_version() is None
