"""Image messages to pictures and back, without cv_bridge (which breaks under numpy 2) and without rclpy.

A message is anything with the fields of sensor_msgs/Image or sensor_msgs/CompressedImage, so that everything here can
be tested without ROS.
"""

from __future__ import annotations

import array
import io
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from dytrack_ros.tracking.image import BgrPicture, ImageView

# OpenCV cannot resample images with longer sides.
MAX_SIDE_PX = 32766
# A few bytes of PNG can claim to be a picture of gigabytes.
MAX_COMPRESSED_PIXELS = 2**26
_COMPRESSED_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
# Both libraries would write a line for each bad file; the node counts them and reports them itself.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
if hasattr(cv2, "setLogLevel"):  # not in every distribution's OpenCV
    cv2.setLogLevel(0)


class UnreadableImage(ValueError):
    """An image message that contradicts itself or comes in an unknown encoding; the text says how to mend it."""


@dataclass(frozen=True)
class _Encoding:
    """How the bytes of one encoding lie and which OpenCV conversions make them RGB and BGR (None: they are already)."""

    channels: int
    to_rgb: int | None
    to_bgr: int | None
    bytes_per_channel: int = 1
    block: tuple[int, int] = (1, 1)  # rows and columns of pixels that share their colours; an image has whole blocks
    chroma_rows: bool = False  # the channel is luma, and below the picture half as many rows of chroma follow (NV12)

    @property
    def shares_colours(self) -> bool:
        """A pixel's colours come from its neighbours' bytes too, so that they must be converted before resampling."""
        return self.block != (1, 1)


_ENCODINGS = {
    "bgr8": _Encoding(3, cv2.COLOR_BGR2RGB, None),
    "8UC3": _Encoding(3, cv2.COLOR_BGR2RGB, None),
    "rgb8": _Encoding(3, None, cv2.COLOR_RGB2BGR),
    "bgra8": _Encoding(4, cv2.COLOR_BGRA2RGB, cv2.COLOR_BGRA2BGR),
    "8UC4": _Encoding(4, cv2.COLOR_BGRA2RGB, cv2.COLOR_BGRA2BGR),
    "rgba8": _Encoding(4, cv2.COLOR_RGBA2RGB, cv2.COLOR_RGBA2BGR),
    "bgr16": _Encoding(3, cv2.COLOR_BGR2RGB, None, bytes_per_channel=2),
    "rgb16": _Encoding(3, None, cv2.COLOR_RGB2BGR, bytes_per_channel=2),
    "mono8": _Encoding(1, cv2.COLOR_GRAY2RGB, cv2.COLOR_GRAY2BGR),
    "8UC1": _Encoding(1, cv2.COLOR_GRAY2RGB, cv2.COLOR_GRAY2BGR),
    "mono16": _Encoding(1, cv2.COLOR_GRAY2RGB, cv2.COLOR_GRAY2BGR, bytes_per_channel=2),
    "yuv422": _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2BGR_UYVY, block=(1, 2)),
    "uyvy": _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2BGR_UYVY, block=(1, 2)),
    "yuv422_yuy2": _Encoding(2, cv2.COLOR_YUV2RGB_YUYV, cv2.COLOR_YUV2BGR_YUYV, block=(1, 2)),
    "yuyv": _Encoding(2, cv2.COLOR_YUV2RGB_YUYV, cv2.COLOR_YUV2BGR_YUYV, block=(1, 2)),
    "nv12": _Encoding(1, cv2.COLOR_YUV2RGB_NV12, cv2.COLOR_YUV2BGR_NV12, block=(2, 2), chroma_rows=True),
    "nv21": _Encoding(1, cv2.COLOR_YUV2RGB_NV21, cv2.COLOR_YUV2BGR_NV21, block=(2, 2), chroma_rows=True),
}
# OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by the first two rows' first two pixels.
for _pattern, _to_rgb, _to_bgr in (
    ("rggb", cv2.COLOR_BayerBG2RGB, cv2.COLOR_BayerBG2BGR),
    ("bggr", cv2.COLOR_BayerRG2RGB, cv2.COLOR_BayerRG2BGR),
    ("gbrg", cv2.COLOR_BayerGR2RGB, cv2.COLOR_BayerGR2BGR),
    ("grbg", cv2.COLOR_BayerGB2RGB, cv2.COLOR_BayerGB2BGR),
):
    _ENCODINGS[f"bayer_{_pattern}8"] = _Encoding(1, _to_rgb, _to_bgr, block=(2, 2))
    _ENCODINGS[f"bayer_{_pattern}16"] = _Encoding(1, _to_rgb, _to_bgr, bytes_per_channel=2, block=(2, 2))

READABLE_ENCODINGS = tuple(_ENCODINGS)


def open_image(message) -> ImageView:
    """The picture of a sensor_msgs/Image: a view of the message's own bytes; nothing is copied or converted yet.

    16-bit channels keep their upper 8 bits. Rows may be padded (`step`).

    Raises:
        UnreadableImage: unknown encoding, a size of zero, or `step` or `data` too small for the size.
    """
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise UnreadableImage(
            f"image encoding {_quoted(message.encoding)} is unknown; publish one of "
            f"{', '.join(READABLE_ENCODINGS)} (image_proc converts)"
        )
    return _MessagePicture(message, encoding)


def to_bgr(message) -> np.ndarray:
    """The whole picture of a sensor_msgs/Image as uint8 BGR, HxWx3.

    `bgr8` is a view of the message's own bytes (no copy, so treat it as read-only); anything else is converted once.
    Raises as `open_image` does.
    """
    return open_image(message).bgr()


class _MessagePicture(ImageView):
    def __init__(self, message, encoding: _Encoding) -> None:
        super().__init__(message.height, message.width)
        self.block = encoding.block
        self._encoding = encoding
        rows = _picture_bytes(message, encoding)
        channels = rows.reshape(-1, message.width, encoding.channels, encoding.bytes_per_channel)
        # The upper byte of a 16-bit channel is its value in 8 bits, and comes first when the message is big-endian.
        self._bytes = channels[..., 0 if message.is_bigendian else -1]

    def part(self, rows: slice, columns: slice) -> np.ndarray:
        if self._encoding.shares_colours:
            return self._converted(rows, columns, self._encoding.to_rgb)
        return self._readable(rows, columns)

    def to_rgb(self, pixels: np.ndarray) -> np.ndarray:
        if self._encoding.shares_colours or self._encoding.to_rgb is None:
            return pixels
        return cv2.cvtColor(pixels, self._encoding.to_rgb)

    def bgr(self) -> np.ndarray:
        return self._converted(slice(0, self.height), slice(0, self.width), self._encoding.to_bgr)

    def _converted(self, rows: slice, columns: slice, conversion: int | None) -> np.ndarray:
        pixels = self._readable(rows, columns)
        if conversion is None:
            return pixels
        if not self._encoding.chroma_rows:
            return cv2.cvtColor(pixels, conversion)
        chroma_rows = slice(self.height + rows.start // 2, self.height + rows.stop // 2)
        chroma = self._readable(chroma_rows, columns)
        return cv2.cvtColorTwoPlane(pixels, chroma.reshape(len(chroma), -1, 2), conversion)

    def _readable(self, rows: slice, columns: slice) -> np.ndarray:
        """Bytes as OpenCV reads them: rows may lie apart, the bytes of a row may not."""
        part = self._bytes[rows, columns]
        return part if self._encoding.bytes_per_channel == 1 else np.ascontiguousarray(part)


def _picture_bytes(message, encoding: _Encoding) -> np.ndarray:
    """The message's rows without their padding: uint8, rows x bytes of a row, still a view."""
    height, width, step = message.height, message.width, message.step
    name = f"a {width}x{height} {message.encoding} image"
    if height <= 0 or width <= 0:
        raise UnreadableImage(f"{name} has no pixels; width and height must be at least 1")
    if height % encoding.block[0] or width % encoding.block[1]:
        raise UnreadableImage(
            f"{name} is not possible: its height must be a multiple of {encoding.block[0]} "
            f"and its width of {encoding.block[1]}; crop it in the camera driver"
        )
    row = width * encoding.channels * encoding.bytes_per_channel
    if step < row:
        raise UnreadableImage(
            f"{name} needs a step of at least {row} bytes a row, not {step}; "
            f"the camera driver must set step to the full row length"
        )
    rows = height + height // 2 if encoding.chroma_rows else height
    if len(message.data) < rows * step:
        raise UnreadableImage(
            f"{name} with a step of {step} needs {rows * step} bytes of data, not "
            f"{len(message.data)}; the camera driver must fill data with {rows} rows"
        )
    if max(height, width) > MAX_SIDE_PX:
        raise UnreadableImage(f"{name} is too long; width and height must be at most {MAX_SIDE_PX}")
    return np.frombuffer(message.data, np.uint8, count=rows * step).reshape(rows, step)[:, :row]


def open_compressed(message) -> ImageView:
    """The picture of a sensor_msgs/CompressedImage; it has to be decoded whole. Raises as `compressed_to_bgr` does."""
    return BgrPicture(compressed_to_bgr(message))


def compressed_to_bgr(message) -> np.ndarray:
    """The picture of a sensor_msgs/CompressedImage (JPEG, PNG, WebP ...) as uint8 BGR, HxWx3.

    A rotation note inside the file is ignored: boxes are in the pixels that the camera sent.

    Raises:
        UnreadableImage: no data, data that cannot be decoded, or a picture larger than MAX_COMPRESSED_PIXELS.
    """
    name = f"a compressed image ({_quoted(message.format)}, {len(message.data)} bytes)"
    if len(message.data) == 0:
        raise UnreadableImage(f"{name} has no data; it must hold a whole JPEG or PNG file")
    try:
        with Image.open(io.BytesIO(message.data), formats=_COMPRESSED_FORMATS) as header:
            width, height = header.size
        if max(height, width) > MAX_SIDE_PX or height * width > MAX_COMPRESSED_PIXELS:
            raise Image.DecompressionBombError(f"it would be {width}x{height} pixels large")
        image = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except Image.DecompressionBombError as error:
        raise UnreadableImage(
            f"{name} is too large: {error}; at most {MAX_COMPRESSED_PIXELS} pixels are decoded, "
            f"and no side over {MAX_SIDE_PX}; scale it down in the camera driver"
        ) from error
    except Exception:  # both libraries fail in many ways at what is no picture
        image = None
    if image is None:
        raise UnreadableImage(f"{name} cannot be decoded; publish JPEG or PNG (compressed_image_transport does)")
    return image


def fill_image(message, bgr: np.ndarray) -> None:
    """Write a uint8 BGR picture, HxWx3, into the fields of a sensor_msgs/Image; its header is left alone."""
    message.height, message.width = bgr.shape[:2]
    message.encoding = "bgr8"
    message.is_bigendian = 0
    message.step = bgr.shape[1] * 3
    message.data = _byte_array(np.ascontiguousarray(bgr))


def fill_compressed(message, bgr: np.ndarray, quality: int = 90) -> None:
    """Write a uint8 BGR picture, HxWx3, as JPEG into a sensor_msgs/CompressedImage; `quality` is in [0, 100]."""
    _, encoded = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    message.format = "bgr8; jpeg compressed bgr8"
    message.data = _byte_array(encoded)


def _quoted(text: str) -> str:
    """Somebody else's text for a sentence in the log: without line breaks, and not too long."""
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _byte_array(values: np.ndarray) -> array.array:
    """rclpy takes an array.array as it is; it would check a list or bytes element by element."""
    data = array.array("B")
    data.frombytes(memoryview(values).cast("B"))
    return data
