"""Stands in for TensorRT and its GPU where there are none, so that the engine's own part can be tested: which graph runs
on which memory, what is built and kept, what is an error. The names and arguments are those of TensorRT's Python module;
a "plan" is its ONNX graph, which ONNX Runtime computes on the memory of ``cuda_stand_in.c``."""

import contextlib
import ctypes
import enum
import importlib.machinery
import math
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from dytrack_ros.engines.tensorrt import cuda_driver

HEADER = b"plan:"
TYPES = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(float)": np.float32}


def compile_driver(folder: Path) -> Path:
    """The driver library, compiled into this folder."""
    library = folder / "libcuda_stand_in.so"
    source = Path(__file__).with_name("cuda_stand_in.c")
    subprocess.run(["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


@contextlib.contextmanager
def stand_in(driver: Path, version: str = "10.3.0"):
    """TensorRT of this version on a GPU of one's own, as long as the ``with`` statement lasts: both modules' stand-ins."""
    with pytest.MonkeyPatch.context() as patch:
        module = Module(version, ctypes.CDLL(str(driver)))
        patch.setitem(sys.modules, "tensorrt", module)
        patch.setattr(cuda_driver, "LIBRARY", str(driver))
        yield module


class Module(types.ModuleType):
    """``builds`` counts the plans that were built; ``failing`` names the functions that fail as TensorRT's do."""

    def __init__(self, version: str, driver: ctypes.CDLL):
        super().__init__("tensorrt")
        self.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
        self.__version__ = version
        self.driver = driver
        self.set_gpus()
        self.builds = 0
        self.failing: set[str] = set()
        self.distortion: dict[str, float] = {}  # by precision: added to every result

    def set_gpus(self, count: int = 1, name: str = "Orin (nvgpu)"):
        ctypes.c_int.in_dll(self.driver, "stand_in_devices").value = count
        (ctypes.c_char * 64).in_dll(self.driver, "stand_in_name").value = name.encode()

    def live_allocations(self) -> int:
        """Pieces of memory and streams that were not given back."""
        return ctypes.c_int.in_dll(self.driver, "stand_in_live").value

    class ILogger:
        Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        EXPLICIT_BATCH = 0
        STRONGLY_TYPED = 1

    MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM")

    def Builder(self, logger):
        if "Builder" in self.failing:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return _Builder(self, logger)

    def OnnxParser(self, network, logger):
        return _Parser(self, network)

    def Runtime(self, logger):
        return _Runtime(self, logger)

    def fails(self, function: str, logger) -> bool:
        if function in self.failing:
            logger.log(self.ILogger.Severity.ERROR, f"{function} is out of order")
        return function in self.failing


class _Builder:
    def __init__(self, module, logger):
        self._module, self._logger = module, logger

    def create_builder_config(self):
        return _Config()

    def create_network(self, flags=0):
        assert flags == 1 << 1, "only a strongly typed network computes in the types that its graph says"
        return types.SimpleNamespace(model=None)

    def build_serialized_network(self, network, config):
        assert config.timings is not None and config.workspace > 0
        if self._module.fails("build_serialized_network", self._logger):
            return None
        self._module.builds += 1
        return memoryview(HEADER + network.model)


class _Config:
    timings, workspace = None, 0

    def set_memory_pool_limit(self, pool, pool_size):
        assert pool is Module.MemoryPoolType.WORKSPACE
        self.workspace = pool_size

    def create_timing_cache(self, serialized_timing_cache):
        return bytes(serialized_timing_cache)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.timings = cache
        return True


class _Parser:
    def __init__(self, module, network):
        self._module, self._network = module, network
        self.num_errors = 0

    def parse_from_file(self, model):
        self.num_errors = int("parse_from_file" in self._module.failing)
        self._network.model = Path(model).read_bytes()
        return not self.num_errors

    def get_error(self, index):
        return types.SimpleNamespace(desc=lambda: f"error {index}: no importer for this node")


class _Runtime:
    def __init__(self, module, logger):
        self._module, self._logger = module, logger

    def deserialize_cuda_engine(self, serialized_engine):
        if self._module.fails("deserialize_cuda_engine", self._logger):
            return None
        assert serialized_engine.startswith(HEADER)
        return _Engine(self._module, serialized_engine[len(HEADER) :], self._logger)


class _Engine:
    def __init__(self, module, model, logger):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.ports = {port.name: port for port in [*self.session.get_inputs(), *self.session.get_outputs()]}
        self.module, self.logger = module, logger

    @property
    def distortion(self):
        halves = any(port.type == "tensor(float16)" for port in self.ports.values())
        return self.module.distortion.get("fp16" if halves else "fp32", 0.0)

    @property
    def num_io_tensors(self):
        return len(self.ports)

    def get_tensor_name(self, index):
        return list(self.ports)[index]

    def get_tensor_shape(self, name):
        return tuple(self.ports[name].shape)

    def get_tensor_dtype(self, name):
        return np.dtype(TYPES[self.ports[name].type])

    def create_execution_context(self):
        return None if self.module.fails("create_execution_context", self.logger) else _Context(self)


class _Context:
    def __init__(self, engine):
        self._engine = engine
        self._addresses = {}

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return not self._engine.module.fails("set_tensor_address", self._engine.logger)

    def execute_async_v3(self, stream_handle):
        engine = self._engine
        assert stream_handle and engine.module.driver.stand_in_is_current()
        if engine.module.fails("execute_async_v3", engine.logger):
            return False
        outputs = [port.name for port in engine.session.get_outputs()]
        results = engine.session.run(
            outputs, {port.name: self._value(port.name) for port in engine.session.get_inputs()}
        )
        for name, result in zip(outputs, results, strict=True):
            self._value(name)[:] = result + result.dtype.type(engine.distortion)
        return True

    def _value(self, name):
        """The value at the address that was set for it."""
        shape, dtype = self._engine.get_tensor_shape(name), self._engine.get_tensor_dtype(name)
        memory = (ctypes.c_ubyte * (math.prod(shape) * dtype.itemsize)).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)
