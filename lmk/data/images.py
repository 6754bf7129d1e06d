"""Photos as arrays, whatever the content of a `.jpg` is; what cannot be read says why.

Pillow decodes every kind: it notices a truncated photo, which OpenCV before 5 filled with grey, and it
never writes to stderr, which OpenCV's JPEG decoder does on damaged data. A sound JPEG of usual colours is decoded by
simplejpeg where that is installed: the same libjpeg-turbo and the same pixels in half the time, for it writes into the
array and holds no lock. OpenCV resizes.
"""

import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import cv2
import numpy as np
from PIL import Image

from lmk.data.headers import MAX_SCANS, Unreadable, count_scans, jpeg_header, kind_of, webp_size
from lmk.util.errors import LmkError, is_of_the_machine

try:
    import simplejpeg
except ImportError:  # Kaggle's image, for one, lacks it
    simplejpeg = None

MAX_MEGAPIXELS = 100
"""A larger photo is refused before it is decoded: it is a mistake or a decompression bomb."""
MAX_MEGABYTES = 256
"""A larger file is refused before it is read."""
MAX_SCANNED_MEGAPIXELS = 1500
"""Scans of a JPEG times its megapixels at the most: some 10 seconds of decoding."""
SAMPLE_STEP = 1.25
"""Pixels between two linear samples at the most: with more between them, some pixels would hardly count."""
MOST_SAMPLES = 4
"""Linear samples a pixel along a side; more take as long as the mean by area, and much memory."""
DECODING_BYTES = 3 << 30
"""Memory that all threads of a process together decode in; a photo that needs more of it waits for the others."""

_BYTES_A_PIXEL = 16  # of a photo while it is decoded
_ORIENTATION = 0x0112  # the EXIF tag
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    OverflowError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""Errors that Pillow's decoders raise on damaged data."""

warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata and large sizes, which read_photo judges itself


class UnreadablePhoto(LmkError):
    """A photo that cannot be decoded; `path` is which, `reason` is why, in a few words.

    `damaged` is False where the machine failed (too little memory, a disk error, no right to read): then nothing is
    known of the photo, which may be read the next time.
    """

    def __init__(self, path: Path, reason: str, damaged: bool = True):
        super().__init__(path, reason, damaged)  # all, so that it survives pickling between processes
        self.path, self.reason, self.damaged = path, reason, damaged

    def __str__(self) -> str:
        return f"{self.path} cannot be read: {self.reason}."


def read_photo(path: Path, max_side: int | None = None, enough: int | None = None) -> np.ndarray:
    """Decode a photo, turned upright by its EXIF orientation, with transparency laid over white.

    Args:
        path: JPEG, PNG, WebP, GIF (first frame), BMP or TIFF, recognised by content and never by suffix.
        max_side: The longest side of the result at the most, in pixels; a photo is never enlarged.
        enough: Pixels of the shorter side that are enough: a JPEG is decoded at the smallest of 1/1, 1/2, 1/4 and 1/8
            of its size that has them, which takes a fraction of the time. None decodes what `max_side` asks for.

    Returns:
        (height, width, 3) uint8, RGB.

    Raises:
        UnreadablePhoto: Missing, empty, no photo, truncated, damaged, or larger than the limits; or the machine failed.
    """
    try:
        data = read_file(path)
        return decode_photo(data, max_side, enough)
    except Unreadable as error:
        raise UnreadablePhoto(path, str(error), error.damaged) from error.__cause__


def decode_photo(data: bytes, max_side: int | None = None, enough: int | None = None) -> np.ndarray:
    """`read_photo` for a file's content.

    Raises:
        LmkError: Its text is the reason alone.
    """
    kind = kind_of(data)
    scans, size = 1, None
    if kind == "JPEG":
        header = jpeg_header(data)
        size = header.size
        scans = 1 if header.one_scan else count_scans(data)
        if scans > MAX_SCANS:
            raise Unreadable(f"a JPEG of more than {MAX_SCANS} scans")
        # Decoders take zeros, with which some downloads fill a lost rest, for grey pixels. A thumbnail in the header
        # has an end marker of its own, so the photo's is searched for behind the header.
        if data.rfind(b"\xff\xd9", min(header.end, len(data))) < 0:
            raise Unreadable("truncated JPEG")
    try:
        photo = None if size is None else _plainly(data, size, max_side, enough)
        if photo is None:
            photo = _decoded(data, kind, scans, max_side, enough)
    except Image.DecompressionBombError as error:
        least = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6  # Pillow does not say the size
        raise Unreadable(f"over {least} megapixels, more than the limit of {MAX_MEGAPIXELS}") from error
    except MemoryError as error:
        raise Unreadable("too little memory", damaged=False) from error
    except _DAMAGE as error:
        raise Unreadable(_reason(error, kind, data)) from error
    if max_side is not None and max(photo.shape[:2]) > max_side:
        photo = resize(photo, *_fit(photo.shape[1], photo.shape[0], max_side))
    return photo


def _decoded(data: bytes, kind: str, scans: int, max_side: int | None, enough: int | None) -> np.ndarray:
    """The pixels of a photo, upright, at least as many as are asked for."""
    with ExitStack() as held:
        if kind == "WebP":  # Pillow makes room for all pixels when it opens one: three canvases of 4 bytes and more
            width, height = webp_size(data)
            _check_size(width, height)
            held.enter_context(_room.hold(24 * width * height))
        image = held.enter_context(Image.open(BytesIO(data), formats=[kind]))  # of other kinds the header alone
        _check_size(image.width, image.height)
        _check_work(image, scans)
        whole = image.size
        if kind == "JPEG" and (max_side is not None or enough is not None):
            image.draft(image.mode, _wanted(image.width, image.height, max_side, enough))  # by 1/2, 1/4 or 1/8
        if kind != "WebP":
            held.enter_context(_room.hold(_bytes_to_decode(image, kind, whole, scans)))
        photo = _quickly(data, image, whole) if kind == "JPEG" else None
        return _turn(_rgb(image) if photo is None else photo, _orientation(image))


def _wanted(width: int, height: int, max_side: int | None, enough: int | None) -> tuple[int, int]:
    """Width and height below which a JPEG must not be scaled while it is decoded."""
    wanted = (width, height) if max_side is None else _fit(width, height, max_side)
    return wanted if enough is None else (min(wanted[0], enough), min(wanted[1], enough))


def _plainly(data: bytes, whole: tuple[int, int], max_side: int | None, enough: int | None) -> np.ndarray | None:
    """(h, w, 3) uint8 of a JPEG whose header tells all, as `_decoded` gives it, without Pillow; None if that judges it.

    Pillow's objects take a tenth of the time of decoding, and the interpreter's lock, so that threads wait.
    """
    if simplejpeg is None or 0 in whole:
        return None
    _check_size(*whole)
    width, height = _scaled(*whole, *_wanted(*whole, max_side, enough))
    with _room.hold(_BYTES_A_PIXEL * width * height):
        return _by_simplejpeg(data, (width, height), whole)


def _scaled(width: int, height: int, least_width: int, least_height: int) -> tuple[int, int]:
    """Width and height of a JPEG at the scale that Pillow's draft mode decodes it at."""
    times = min(width // least_width, height // least_height)
    scale = next(scale for scale in (8, 4, 2, 1) if scale <= max(1, times))
    return -(-width // scale), -(-height // scale)


def _quickly(data: bytes, image: Image.Image, whole: tuple[int, int]) -> np.ndarray | None:
    """(h, w, 3) uint8 of a JPEG by simplejpeg at the size of `image`; None where Pillow has to judge or convert it."""
    # Pillow says YCbCr of three components without a marker of Adobe's, or with one that says so.
    if simplejpeg is None or image.mode != "RGB" or image.info.get("adobe_transform", 1) != 1:
        return None
    return _by_simplejpeg(data, image.size, whole)


def _by_simplejpeg(data: bytes, size: tuple[int, int], whole: tuple[int, int]) -> np.ndarray | None:
    """(h, w, 3) uint8 of a JPEG of `whole` width and height, decoded at the scale that has `size`; None if flawed.

    simplejpeg and Pillow call libjpeg-turbo, whose pixels at 1/1, 1/2, 1/4 and 1/8 are the same. simplejpeg gives a
    photo with any flaw up, so that what is damaged is found and named as without it.
    """
    width, height = size
    try:
        photo = simplejpeg.decode_jpeg(data, **({} if size == whole else {"min_height": height, "min_width": width}))
    except ValueError:
        return None
    return photo if photo.shape == (height, width, 3) else None


def resize(photo: np.ndarray, width: int, height: int, out: np.ndarray | None = None) -> np.ndarray:
    """Resize (h, w, 3) uint8 to (height, width, 3), linearly where a side grows, antialiased where it shrinks.

    A pixel of a side that shrinks is the mean of 1, 2 or 4 linear samples, at most `SAMPLE_STEP` pixels apart: the
    photo is resized linearly to so many times the size, then halved. That is within 2 levels of 255 (RMS, on photos) of
    the mean by area, and takes a third of the time: OpenCV's loop over areas uses no vector instructions. A side
    that shrinks further than `MOST_SAMPLES` allow is resized by area.

    Args:
        photo: The pixels.
        width, height: Of the result.
        out: (height, width, 3) uint8, contiguous, to write into.

    Returns:
        `out`; without it an array of its own, or `photo` itself where that has the size.
    """
    across, down = _samples(photo.shape[1], width), _samples(photo.shape[0], height)
    if across > MOST_SAMPLES or down > MOST_SAMPLES:
        by_area = (width if across > 1 else photo.shape[1]), (height if down > 1 else photo.shape[0])
        photo, across, down = cv2.resize(photo, by_area, interpolation=cv2.INTER_AREA), 1, 1
    sizes = [] if photo.shape[:2] == (height * down, width * across) else [(width * across, height * down)]
    while across * down > 1:
        across, down = max(1, across // 2), max(1, down // 2)
        sizes.append((width * across, height * down))
    for size in sizes:  # half a side by linear interpolation is the mean of two pixels
        into = out if size == sizes[-1] else None
        photo = cv2.resize(photo, size, dst=into, interpolation=cv2.INTER_LINEAR)
    if out is not None and photo is not out:
        out[...] = photo
        return out
    return photo


def _samples(given: int, wanted: int) -> int:
    """Linear samples a pixel, a power of 2, along a side of `given` pixels that becomes `wanted`."""
    samples = 1
    while given > SAMPLE_STEP * wanted * samples:
        samples *= 2
    return samples


class _Budget:
    """Bytes of memory that threads share."""

    def __init__(self, total: int):
        self.total = self.free = total
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Wait until `size` bytes are free, and hold them while the block runs; more than all there are means all."""
        size = min(size, self.total)
        with self._changed:
            self._changed.wait_for(lambda: self.free >= size)
            self.free -= size
        try:
            yield
        finally:
            with self._changed:
                self.free += size
                self._changed.notify_all()


_room = _Budget(DECODING_BYTES)


def _bytes_to_decode(image: Image.Image, kind: str, whole: tuple[int, int], scans: int) -> int:
    """About how many bytes of memory an opened photo's decoding takes, by the size that its header gives.

    Measured on photos of 100 megapixels: copies in Pillow's modes, the array, a turned one. A JPEG of several scans
    holds all coefficients, of 2 bytes, whatever the scale.
    """
    pixels = whole[0] * whole[1]
    if kind != "JPEG":
        return _BYTES_A_PIXEL * pixels
    return _BYTES_A_PIXEL * image.width * image.height + (6 * pixels if scans > 1 else 0)


def _check_work(image: Image.Image, scans: int) -> None:
    """Refuse what takes far more time or memory than its size suggests: many scans, tiles larger than the image."""
    megapixels = image.width * image.height / 1e6
    if scans > 1 and scans * megapixels > MAX_SCANNED_MEGAPIXELS:
        raise Unreadable(f"a JPEG of {scans} scans over {megapixels:,.0f} megapixels")
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag, 0) for tag in (322, 323)]  # TileWidth and TileLength of TIFF 6.0
    if all(isinstance(side, int) for side in sides):
        _check_size(*sides)


def read_file(path: Path) -> bytes:
    """A photo's file as it is.

    Raises:
        LmkError: Its text is the reason alone: the file is absent, too large or no file, or the machine failed.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode) and not S_ISDIR(status.st_mode):  # reading a folder has a reason of its own
            raise Unreadable("a device or pipe, not a file")
        megabytes = status.st_size / 1e6
        if megabytes > MAX_MEGABYTES:
            raise Unreadable(f"a file of {megabytes:,.0f} MB, more than the limit of {MAX_MEGABYTES}")
        with path.open("rb", buffering=0) as file:  # a third of the system calls of `read_bytes`
            data = file.read(status.st_size)
            return data if len(data) == status.st_size else data + file.readall()
    except MemoryError as error:
        raise Unreadable("too little memory", damaged=False) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unreadable(reason, damaged=not is_of_the_machine(error)) from error


def _check_size(width: int, height: int) -> None:
    megapixels = width * height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise Unreadable(f"{megapixels:,.0f} megapixels, more than the limit of {MAX_MEGAPIXELS}")


def _fit(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Width and height within `max_side`, in proportion, at least one pixel each."""
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _rgb(image: Image.Image) -> np.ndarray:
    """(h, w, 3) uint8 of an image in any of Pillow's modes."""
    if image.mode.startswith("I"):
        return np.repeat(_eight_bits(np.asarray(image))[..., None], 3, axis=2)
    if image.mode == "F":
        raise Unreadable("pixels of floating point, whose range is not known")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = Image.eval(image, lambda ink: 255 - ink)  # Pillow inverts all CMYK JPEGs; only Adobe's are inverted
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """16-bit grey values in [0, 65535] as uint8; Pillow itself clips them at 255."""
    if grey.size and (grey.min() < 0 or grey.max() > 65535):
        raise Unreadable("pixels of 32 bits, whose range is not known")
    return ((grey.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation from 1 to 8; 1 (upright) where metadata are absent or damaged."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) else 1


def _turn(photo: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a stored photo (h, w, 3) upright; EXIF 2.3, tag Orientation."""
    if orientation in (5, 6, 7, 8):
        photo = photo.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        photo = photo[:, ::-1]
    if orientation in (3, 4, 7, 8):
        photo = photo[::-1]
    return np.ascontiguousarray(photo)


def _reason(error: BaseException, kind: str, data: bytes) -> str:
    """Why a decoder gave up, in a few words."""
    cut = {
        "PNG": b"IEND" not in data[-1024:],
        "GIF": not data.rstrip(b"\0").endswith(b";"),
        "WebP": len(data) < 8 + int.from_bytes(data[4:8], "little"),
    }
    if cut.get(kind, False) or "truncated" in str(error).lower():
        return f"truncated {kind}"
    return f"damaged {kind}"
