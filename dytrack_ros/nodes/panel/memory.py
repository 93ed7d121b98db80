"""What becomes of the memory of large messages once they are done with."""

from __future__ import annotations

import ctypes

# From <malloc.h> of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# The largest that it takes; an image of 4096x2160 still fits.
_MMAP_BYTES = 32 * 2**20
_KEPT_BYTES = 128 * 2**20


def keep_freed_memory() -> bool:
    """Let the C library keep freed buffers of images for the next ones; False where it is not GNU's.

    Otherwise it hands them back to the kernel after each image and gets them anew, page by page: at ten images of
    1280x720 a second a third of all that the panel costs.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_MMAP_THRESHOLD, _MMAP_BYTES) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
