"""Conversion between image messages and :class:`ImageView`; needs the fields of the messages only, not ROS."""

from __future__ import annotations

import array
import io
import threading
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from dytrack_ros.data.value_range import Range, ValueRange, to_8_bit
from dytrack_ros.tracking.image import ImageView

# OpenCV cannot resample images with longer sides.
MAX_SIDE_PX = 32766
# A small PNG file can declare an image of gigabytes.
MAX_COMPRESSED_PIXELS = 2**26
_COMPRESSED_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")


class UnreadableImageError(ValueError):
    """An image message contradicts itself or has an unknown encoding; the text says how to mend it."""


@dataclass(frozen=True)
class _Encoding:
    """Memory layout of one encoding, and the OpenCV conversions to RGB and BGR (None: no conversion needed)."""

    channels: int
    to_rgb: int | None
    to_bgr: int | None
    value_type: str = "u1"
    block: tuple[int, int] = (1, 1)  # rows and columns of pixels that share colours; images consist of whole blocks
    # Rows of chroma below the rows of luma, for each row of luma (NV12, NV21: 1/2; NV24: 2).
    chroma_rows: float = 0.0

    @property
    def needs_neighbours(self) -> bool:
        """Whether a pixel's colour needs bytes of other pixels or planes, so that conversion precedes resampling."""
        return self.block != (1, 1) or self.chroma_rows > 0

    @property
    def bytes_per_pixel(self) -> int:
        return self.channels * np.dtype(self.value_type).itemsize


_BGR = (cv2.COLOR_BGR2RGB, None)
_RGB = (None, cv2.COLOR_RGB2BGR)
_BGRA = (cv2.COLOR_BGRA2RGB, cv2.COLOR_BGRA2BGR)
_RGBA = (cv2.COLOR_RGBA2RGB, cv2.COLOR_RGBA2BGR)
_GREY = (cv2.COLOR_GRAY2RGB, cv2.COLOR_GRAY2BGR)
_UYVY = _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2BGR_UYVY, block=(1, 2))
_YUYV = _Encoding(2, cv2.COLOR_YUV2RGB_YUYV, cv2.COLOR_YUV2BGR_YUYV, block=(1, 2))
_ENCODINGS = {
    **dict.fromkeys(("bgr8", "8UC3"), _Encoding(3, *_BGR)),
    **dict.fromkeys(("bgra8", "8UC4"), _Encoding(4, *_BGRA)),
    **dict.fromkeys(("mono8", "8UC1"), _Encoding(1, *_GREY)),
    **dict.fromkeys(("bgr16", "16UC3"), _Encoding(3, *_BGR, "u2")),
    **dict.fromkeys(("bgra16", "16UC4"), _Encoding(4, *_BGRA, "u2")),
    **dict.fromkeys(("mono16", "16UC1"), _Encoding(1, *_GREY, "u2")),
    "32FC1": _Encoding(1, *_GREY, "f4"),
    "rgb8": _Encoding(3, *_RGB),
    "rgb16": _Encoding(3, *_RGB, "u2"),
    "rgba8": _Encoding(4, *_RGBA),
    "rgba16": _Encoding(4, *_RGBA, "u2"),
    **dict.fromkeys(("uyvy", "yuv422"), _UYVY),
    **dict.fromkeys(("yuyv", "yuv422_yuy2"), _YUYV),
    "nv12": _Encoding(1, cv2.COLOR_YUV2RGB_NV12, cv2.COLOR_YUV2BGR_NV12, block=(2, 2), chroma_rows=0.5),
    "nv21": _Encoding(1, cv2.COLOR_YUV2RGB_NV21, cv2.COLOR_YUV2BGR_NV21, block=(2, 2), chroma_rows=0.5),
    # OpenCV has no conversion of NV24; that of NV12 fits once its luma is made to match, see _RawImage.
    "nv24": _Encoding(1, cv2.COLOR_YUV2RGB_NV12, cv2.COLOR_YUV2BGR_NV12, chroma_rows=2.0),
}
# OpenCV names a Bayer pattern by pixels 2 and 3 of the second row, ROS by pixels 1 and 2 of the first two rows.
for _pattern, _conversions in {
    "rggb": (cv2.COLOR_BayerBG2RGB, cv2.COLOR_BayerBG2BGR),
    "bggr": (cv2.COLOR_BayerRG2RGB, cv2.COLOR_BayerRG2BGR),
    "gbrg": (cv2.COLOR_BayerGR2RGB, cv2.COLOR_BayerGR2BGR),
    "grbg": (cv2.COLOR_BayerGB2RGB, cv2.COLOR_BayerGB2BGR),
}.items():
    _ENCODINGS[f"bayer_{_pattern}8"] = _Encoding(1, *_conversions, block=(2, 2))
    _ENCODINGS[f"bayer_{_pattern}16"] = _Encoding(1, *_conversions, "u2", block=(2, 2))
_BY_LOWER_CASE = {name.lower(): encoding for name, encoding in _ENCODINGS.items()}

READABLE_ENCODINGS = tuple(_ENCODINGS)


class MessageImage(ImageView):
    """The image of a message, converted or decoded only as far as its pixels are read.

    Values of more than 8 bits are mapped by `value_range` to 8 bits.
    """

    def __init__(self, height: int, width: int, value_range: ValueRange | None = None) -> None:
        super().__init__(height, width)
        self.value_range = value_range or ValueRange()

    def load(self) -> None:
        """Decode the image, so that later reads cannot fail. Raises UnreadableImageError."""


def open_image(message, value_range: ValueRange | None = None) -> MessageImage:
    """Return the image of a sensor_msgs/Image as a view of the message's bytes; nothing is copied or converted yet.

    Rows may be padded (`step`). The encoding may be in upper or lower case. Without a `value_range`, values of more
    than 8 bits are mapped by the range of this image.

    Raises:
        UnreadableImageError: unknown encoding, a size of zero, or `step` or `data` too small for the size.
    """
    return _RawImage(message, _encoding_of(message), value_range)


def _encoding_of(message) -> _Encoding:
    encoding = _BY_LOWER_CASE.get(message.encoding.lower())
    if encoding is None:
        raise UnreadableImageError(
            f"image encoding {_quoted(message.encoding)} is unknown; publish one of "
            f"{', '.join(READABLE_ENCODINGS)} (image_proc converts)"
        )
    return encoding


def open_values(message) -> np.ndarray:
    """Return the values of a sensor_msgs/Image, HxWxC, as a view of the message in its own type and byte order.

    Raises as `open_image` does.
    """
    return _RawImage(message, _encoding_of(message), None).values


def to_bgr(message) -> np.ndarray:
    """Return the whole image of a sensor_msgs/Image as uint8 BGR, HxWx3.

    `bgr8` gives a view of the message's bytes, which must not be written to. Raises as `open_image` does.
    """
    return open_image(message).bgr()


class _RawImage(MessageImage):
    def __init__(self, message, encoding: _Encoding, value_range: ValueRange | None) -> None:
        super().__init__(message.height, message.width, value_range)
        self.block = encoding.block
        self._encoding = encoding
        value_type = np.dtype(encoding.value_type).newbyteorder(">" if message.is_bigendian else "<")
        rows, step = _image_bytes(message, encoding)
        luma = rows[: self.height, : self.width * encoding.bytes_per_pixel]
        self.values = luma.view(value_type).reshape(self.height, self.width, encoding.channels)
        if encoding.chroma_rows:
            # A row of NV24's chroma is twice as long as one of its luma, padding included.
            factor = max(int(encoding.chroma_rows), 1)
            chroma = rows[self.height :].reshape(-1, factor * step)[:, : factor * self.width]
            self._chroma = chroma.reshape(len(chroma), -1, 2)
        self._range: Range | None = None  # of this image; found when its pixels are first read

    def part(self, rows: slice, columns: slice) -> np.ndarray:
        if self._encoding.needs_neighbours:
            return self._converted(rows, columns, self._encoding.to_rgb)
        return self._bytes(rows, columns)

    def to_rgb(self, pixels: np.ndarray) -> np.ndarray:
        if self._encoding.needs_neighbours or self._encoding.to_rgb is None:
            return pixels
        return cv2.cvtColor(pixels, self._encoding.to_rgb)

    def bgr(self) -> np.ndarray:
        return self._converted(slice(0, self.height), slice(0, self.width), self._encoding.to_bgr)

    def _converted(self, rows: slice, columns: slice, conversion: int | None) -> np.ndarray:
        pixels = self._bytes(rows, columns)
        if conversion is None:
            return pixels
        ratio = self._encoding.chroma_rows
        if not ratio:
            return cv2.cvtColor(pixels, conversion)
        if ratio < 1:
            halves = (slice(part.start // 2, part.stop // 2) for part in (rows, columns))
            return cv2.cvtColorTwoPlane(pixels, self._chroma[tuple(halves)], conversion)
        # Each pixel has chroma of its own: doubled, the luma is that of an image with one chroma pair for 2x2 pixels.
        doubled = pixels.repeat(2, axis=0).repeat(2, axis=1)
        return cv2.cvtColorTwoPlane(doubled, self._chroma[rows, columns], conversion)[::2, ::2].copy()

    def _bytes(self, rows: slice, columns: slice) -> np.ndarray:
        """Return values as uint8, contiguous within a row as OpenCV needs them."""
        part = self.values[rows, columns]
        if part.dtype == np.uint8:
            return part
        if self._range is None:
            self._range = self.value_range.update(self.values)
        return to_8_bit(part, self._range)


def _image_bytes(message, encoding: _Encoding) -> tuple[np.ndarray, int]:
    """Return a view of the message's rows, uint8 of rows x step, and the step."""
    height, width, step = message.height, message.width, message.step
    name = f"a {width}x{height} {message.encoding} image"
    if height <= 0 or width <= 0:
        raise UnreadableImageError(f"{name} has no pixels; width and height must be at least 1")
    if height % encoding.block[0] or width % encoding.block[1]:
        raise UnreadableImageError(
            f"{name} is not possible: its height must be a multiple of {encoding.block[0]} "
            f"and its width of {encoding.block[1]}; crop it in the camera driver"
        )
    row = width * encoding.bytes_per_pixel
    if step < row:
        raise UnreadableImageError(
            f"{name} needs a step of at least {row} bytes a row, not {step}; "
            f"the camera driver must set step to the full row length"
        )
    rows = height + int(height * encoding.chroma_rows)
    if len(message.data) == rows * row < rows * step:  # rows without padding, and a wrong step
        step = row
    if len(message.data) < rows * step:
        raise UnreadableImageError(
            f"{name} with a step of {step} needs {rows * step} bytes of data, not "
            f"{len(message.data)}; the camera driver must fill data with {rows} rows"
        )
    if max(height, width) > MAX_SIDE_PX:
        raise UnreadableImageError(f"{name} is too long; width and height must be at most {MAX_SIDE_PX}")
    return np.frombuffer(message.data, np.uint8, count=rows * step).reshape(rows, step), step


def open_compressed(message, value_range: ValueRange | None = None) -> MessageImage:
    """Return the image of a sensor_msgs/CompressedImage (JPEG, PNG, WebP ...); only its size is read yet.

    The EXIF orientation is ignored: boxes are in the pixels that the camera sent.

    Raises:
        UnreadableImageError: no data, not an image file, or an image larger than MAX_COMPRESSED_PIXELS.
    """
    return _CompressedImage(message, value_range)


class _CompressedImage(MessageImage):
    def __init__(self, message, value_range: ValueRange | None) -> None:
        self._data = message.data
        self._name = f"a compressed image ({_quoted(message.format)}, {len(message.data)} bytes)"
        self._decoded: np.ndarray | None = None
        self._lock = threading.Lock()
        if len(message.data) == 0:
            raise UnreadableImageError(f"{self._name} has no data; it must hold a whole JPEG or PNG file")
        super().__init__(*self._declared_size(), value_range)

    def load(self) -> None:
        self.bgr()

    def part(self, rows: slice, columns: slice) -> np.ndarray:
        return self.bgr()[rows, columns]

    def to_rgb(self, pixels: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)

    def bgr(self) -> np.ndarray:
        with self._lock:  # the tracking and the drawing thread read it
            if self._decoded is None:
                self._decoded = self._decode()
            return self._decoded

    def _declared_size(self) -> tuple[int, int]:
        """Return height and width from the header of the file."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # checked below
                with Image.open(io.BytesIO(self._data), formats=_COMPRESSED_FORMATS) as header:
                    width, height = header.size
        except Image.DecompressionBombError as error:
            raise self._too_large(str(error)) from error
        except Exception as error:  # the library raises many kinds for damaged files
            raise self._unreadable() from error
        if max(height, width) > MAX_SIDE_PX or height * width > MAX_COMPRESSED_PIXELS:
            raise self._too_large(f"it would be {width}x{height} pixels large")
        return height, width

    def _decode(self) -> np.ndarray:
        data = np.frombuffer(self._data, np.uint8)
        try:
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
            image = cv2.imdecode(data, flags)
        except cv2.error as error:
            raise self._unreadable() from error
        if image is None or image.shape[:2] != (self.height, self.width):
            raise self._unreadable()
        return image if image.dtype == np.uint8 else to_8_bit(image, self.value_range.update(image))

    def _too_large(self, reason: str) -> UnreadableImageError:
        return UnreadableImageError(
            f"{self._name} is too large: {reason}; at most {MAX_COMPRESSED_PIXELS} pixels are decoded, "
            f"and no side over {MAX_SIDE_PX}; scale it down in the camera driver"
        )

    def _unreadable(self) -> UnreadableImageError:
        return UnreadableImageError(
            f"{self._name} cannot be decoded; publish JPEG or PNG (compressed_image_transport does)"
        )


def fill_image(message, bgr: np.ndarray) -> None:
    """Write a uint8 BGR image, HxWx3, into the fields of a sensor_msgs/Image; the header is not changed."""
    message.height, message.width = bgr.shape[:2]
    message.encoding = "bgr8"
    message.is_bigendian = 0
    message.step = bgr.shape[1] * 3
    message.data = _byte_array(np.ascontiguousarray(bgr))


def fill_compressed(message, bgr: np.ndarray, quality: int = 90) -> None:
    """Write a uint8 BGR image, HxWx3, as JPEG into a sensor_msgs/CompressedImage; `quality` is in [0, 100]."""
    _, encoded = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    message.format = "bgr8; jpeg compressed bgr8"
    message.data = _byte_array(encoded)


def _quoted(text: str) -> str:
    """Return foreign text for a log line: shortened, without line breaks."""
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _byte_array(values: np.ndarray) -> array.array:
    """Return an array.array, which rclpy takes as it is; it checks a list or bytes element by element."""
    data = array.array("B")
    data.frombytes(values.data.cast("B"))
    return data
