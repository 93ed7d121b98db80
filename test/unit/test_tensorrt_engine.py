"""The TensorRT engine without a GPU: it imports, and says what is missing. It computes in no test."""

import importlib.machinery
import sys
import types

import pytest
from engine_answers import finish, python

from dytrack_ros.engines.tensorrt import cuda_driver, plans
from dytrack_ros.engines.tensorrt.engine import TensorRTEngine


def module(**attributes):
    fake = types.ModuleType("tensorrt")
    fake.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
    fake.__dict__.update(attributes)
    return fake


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        (module(__version__="8.6.2"), r"^TensorRT 8\.6\.2 is too old .*TensorRT 10 or newer.*JetPack 6\.1"),
        (module(), "is not NVIDIA's"),
        (None, r"cannot be loaded .*TensorRT 10 or newer"),  # None in sys.modules: the import fails
    ],
    ids=["JetPack 6.0's", "another module", "broken"],
)
def test_an_unusable_tensorrt_is_refused(monkeypatch, tiny_weights, fake, message):
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    with pytest.raises(ImportError, match=message):
        TensorRTEngine(tiny_weights)


def test_it_wants_a_gpu_and_its_driver(monkeypatch, tiny_weights):
    monkeypatch.setitem(sys.modules, "tensorrt", module(__version__="11.4.0.106"))
    assert plans.import_tensorrt().__version__ == "11.4.0.106"
    with pytest.raises(ValueError, match="'tensorrt' runs on a GPU: for device 'cpu' use engine 'openvino'"):
        TensorRTEngine(tiny_weights, device="cpu")
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda_that_is_missing.so")
    with pytest.raises(ImportError, match="there is no NVIDIA driver: libcuda_that_is_missing"):
        TensorRTEngine(tiny_weights)


def test_plans_are_named_by_all_that_they_depend_on():
    gpu = types.SimpleNamespace(name="Orin (nvgpu)", compute_capability=(8, 7))
    name = plans.plans_name("0" * 64, "fp16", "10.3.0", gpu)
    assert name.endswith("-fp16-tensorrt_10.3.0-sm_87-Orin_nvgpu") and name.startswith("0" * 32 + "-")


def test_importing_the_engines_imports_no_library(tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise SystemExit('imported')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import dytrack_ros.engines.tensorrt.engine, dytrack_ros.tracking
print(sorted({{"tensorrt", "torch", "onnx", "openvino"}} & set(sys.modules)))
"""
    assert finish(python(code)).strip() == "[]"
