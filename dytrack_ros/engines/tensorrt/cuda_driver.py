"""Memory and a stream of a CUDA device through NVIDIA's driver library alone.

Every driver brings this library, on a Jetson too, and the names and types of these functions are the same in all
versions of CUDA. So no package that must match the driver is needed, neither PyTorch nor cuda-python.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import weakref
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = "libcuda.so.1"

_NO_DEVICE = 100
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76
_STREAM_NON_BLOCKING = 1

# As in cuda.h: a device is an int, a context and a stream are pointers, a device address has 64 bits.
_ARGUMENTS = {
    "cuInit": (c_uint,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
}

_log = logging.getLogger(__name__)


class CudaError(RuntimeError):
    """A driver function failed; ``code`` is its CUresult."""

    def __init__(self, function: str, code: int, words: str) -> None:
        super().__init__(f"{function} failed: {words} (CUDA error {code})")
        self.code = code


class CudaDevice:
    """A CUDA device with a stream and the memory allocated on it, both of which are freed with this object.

    Raises ImportError where there is no driver, ValueError where there is no such device, and CudaError.
    """

    def __init__(self, ordinal: int = 0) -> None:
        self.name = device_name(ordinal)
        self._driver = _load_driver(LIBRARY)
        device = _get(self._driver, c_int, "cuDeviceGet", ordinal)
        self.compute_capability = tuple(
            _get(self._driver, c_int, "cuDeviceGetAttribute", attribute, device).value
            for attribute in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR)
        )
        # TensorRT uses the primary context, as CUDA's runtime library does. It is never released: other code in this
        # process may use it.
        self._context = _get(self._driver, c_void_p, "cuDevicePrimaryCtxRetain", device)
        self.make_current()
        stream = _get(self._driver, c_void_p, "cuStreamCreate", _STREAM_NON_BLOCKING)
        self.stream = stream.value
        self._on_device: list[int] = []
        self._on_host: list[int] = []
        # Not at exit: the driver then frees everything itself, perhaps before this would run.
        weakref.finalize(
            self, _release, self._driver, self._context, stream, self._on_device, self._on_host
        ).atexit = False

    def make_current(self) -> None:
        """Make this the device of the calling thread, as every other call and TensorRT need."""
        _call(self._driver, "cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """Allocate ``size`` bytes on the device; return their address."""
        address: int = _get(self._driver, c_uint64, "cuMemAlloc_v2", size).value
        self._on_device.append(address)
        return address

    def staging_array(self, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """Allocate a page-locked array for :meth:`upload` and :meth:`download`; it must not outlive this object."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = _get(self._driver, c_void_p, "cuMemHostAlloc", size, 0).value
        self._on_host.append(address)
        buffer = memoryview((ctypes.c_ubyte * size).from_address(address))
        array: NDArray[Any] = np.frombuffer(buffer, dtype).reshape(shape)
        return array

    def upload(self, array: NDArray[Any], address: int) -> None:
        """Queue the copy of a staging array to the device."""
        _call(self._driver, "cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, self.stream)

    def download(self, address: int, array: NDArray[Any]) -> None:
        """Queue the copy from the device to a staging array; it is complete after :meth:`synchronize`."""
        _call(self._driver, "cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, self.stream)

    def synchronize(self) -> None:
        """Wait until all queued work is done."""
        _call(self._driver, "cuStreamSynchronize", self.stream)


def device_count() -> int:
    """Return the number of CUDA devices. Raises ImportError where there is no driver, and CudaError."""
    driver = _load_driver(LIBRARY)
    try:
        _call(driver, "cuInit", 0)
    except CudaError as error:
        if error.code == _NO_DEVICE:
            return 0
        raise
    count: int = _get(driver, c_int, "cuDeviceGetCount").value
    return count


def device_name(ordinal: int) -> str:
    """Return the name of a device. Raises ValueError where there is no such device, ImportError and CudaError."""
    count = device_count()
    if not 0 <= ordinal < count:
        raise ValueError(f"there is no device 'cuda:{ordinal}': the NVIDIA driver finds {count} device(s)")
    driver = _load_driver(LIBRARY)
    name = ctypes.create_string_buffer(256)
    _call(driver, "cuDeviceGetName", name, len(name), _get(driver, c_int, "cuDeviceGet", ordinal))
    return name.value.decode()


@functools.cache
def _load_driver(library: str) -> ctypes.CDLL:
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        raise ImportError(f"there is no NVIDIA driver: {error}") from None
    for name, arguments in _ARGUMENTS.items():
        getattr(driver, name).argtypes = arguments
    return driver


def _call(driver: ctypes.CDLL, function: str, *arguments: Any) -> None:
    code = getattr(driver, function)(*arguments)
    if code:
        words = []
        for describe in (driver.cuGetErrorName, driver.cuGetErrorString):
            text = c_char_p()
            describe(code, ctypes.byref(text))
            words.append((text.value or b"unknown").decode())
        raise CudaError(function, code, ", ".join(words))


def _get(driver: ctypes.CDLL, kind: type, function: str, *arguments: Any) -> Any:
    """Call a function; return the value that it writes through its first argument."""
    result = kind()
    _call(driver, function, ctypes.byref(result), *arguments)
    return result


def _release(
    driver: ctypes.CDLL, context: c_void_p, stream: c_void_p, on_device: list[int], on_host: list[int]
) -> None:
    try:
        _call(driver, "cuCtxSetCurrent", context)
        _call(driver, "cuStreamSynchronize", stream)
        _call(driver, "cuStreamDestroy_v2", stream)
        for address in on_device:
            _call(driver, "cuMemFree_v2", address)
        for address in on_host:
            _call(driver, "cuMemFreeHost", address)
    except CudaError as error:
        _log.warning("the memory of a CUDA device could not be freed: %s", error)
