"""Whatever hides behind `.jpg` becomes RGB pixels, or an error that says why not."""

import io
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import lmk.data.images
from lmk.data.headers import count_scans, jpeg_header, webp_size
from lmk.data.images import MAX_MEGAPIXELS, UnreadablePhoto, decode_photo, read_photo, resize
from lmk.util.errors import LmkError

# Under pytest, Pillow's warnings are shown again; that lmk shows none is a test of its own below.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

ORIENTATION = 0x0112


def scene(height: int = 60, width: int = 80) -> np.ndarray:
    """Four flat quarters, smooth enough to survive JPEG: red, green over blue, yellow."""
    photo = np.zeros((height, width, 3), np.uint8)
    photo[: height // 2, : width // 2] = (200, 30, 30)
    photo[: height // 2, width // 2 :] = (30, 180, 40)
    photo[height // 2 :, : width // 2] = (30, 40, 190)
    photo[height // 2 :, width // 2 :] = (220, 210, 40)
    return photo


def encode(photo: np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, kind, **options)
    return file.getvalue()


def save(folder: Path, data: bytes) -> Path:
    path = folder / "photo.jpg"  # always that suffix, whatever is inside
    path.write_bytes(data)
    return path


def same_colours(photo: np.ndarray, expected: np.ndarray, within: int = 12) -> bool:
    """Compared at the centres of a 4 x 4 grid, away from the edges between colours."""
    assert photo.dtype == np.uint8
    assert photo.shape == expected.shape
    rows, columns = (np.arange(1, 8, 2) * side // 8 for side in photo.shape[:2])
    difference = photo[np.ix_(rows, columns)].astype(int) - expected[np.ix_(rows, columns)]
    return np.abs(difference).max() <= within


def reason(data: bytes) -> str:
    with pytest.raises(LmkError) as caught:
        decode_photo(data)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"])
def test_a_photo_of_any_kind_is_read_whatever_its_suffix(tmp_path, kind):
    assert same_colours(read_photo(save(tmp_path, encode(scene(), kind))), scene())


def test_a_progressive_jpeg_is_read(tmp_path):
    assert same_colours(read_photo(save(tmp_path, encode(scene(), "JPEG", progressive=True))), scene())


def test_only_the_first_frame_of_a_gif_is_read(tmp_path):
    first, second = Image.fromarray(scene()), Image.new("RGB", (80, 60), "black")
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[second])
    assert same_colours(read_photo(save(tmp_path, file.getvalue())), scene())


def test_only_the_first_picture_of_a_stereo_jpeg_is_read(tmp_path):
    first, second = Image.fromarray(scene()), Image.new("RGB", (80, 60), "black")
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second])
    assert same_colours(read_photo(save(tmp_path, file.getvalue())), scene())


def test_greyscale_gets_three_equal_channels(tmp_path):
    grey = np.full((10, 12), 77, np.uint8)
    photo = read_photo(save(tmp_path, encode(grey, "JPEG")))
    assert photo.shape == (10, 12, 3)
    assert (np.abs(photo.astype(int) - 77) <= 1).all()


def test_sixteen_bit_greys_are_scaled_and_not_clipped(tmp_path):
    grey = np.array([[0, 257 * 10, 257 * 128, 65535]], np.uint16)
    photo = read_photo(save(tmp_path, cv2.imencode(".png", grey)[1].tobytes()))
    assert photo[0, :, 0].tolist() == [0, 10, 128, 255]


def test_sixteen_bit_colours_are_scaled_and_not_clipped(tmp_path):
    rgb = np.array([[[0, 257 * 10, 257 * 128], [65535, 257 * 200, 257]]], np.uint16)
    photo = read_photo(save(tmp_path, cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()))
    assert photo.tolist() == [[[0, 10, 128], [255, 200, 1]]]


def test_a_cmyk_jpeg_as_adobe_writes_it_keeps_its_colours(tmp_path):
    file = io.BytesIO()
    Image.fromarray(scene()).convert("CMYK").save(file, "JPEG", quality=95)
    assert b"Adobe" in file.getvalue()
    assert same_colours(read_photo(save(tmp_path, file.getvalue())), scene())


def test_a_cmyk_jpeg_without_adobes_marker_is_not_inverted(tmp_path):
    inks = Image.fromarray(scene()).convert("CMYK")
    file = io.BytesIO()
    Image.eval(inks, lambda ink: 255 - ink).save(file, "JPEG", quality=95)  # Pillow inverts once more
    data = file.getvalue()
    start = data.index(b"\xff\xee")
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    plain = data[:start] + data[start + 2 + length :]
    assert b"Adobe" not in plain
    assert same_colours(read_photo(save(tmp_path, plain)), scene())


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_transparency_is_laid_over_white(tmp_path, kind):
    rgba = np.zeros((8, 8, 4), np.uint8)  # black where opaque
    rgba[:, 4:, 3] = 255
    rgba[:, 2:4, 3] = 128
    photo = read_photo(save(tmp_path, encode(rgba, kind, lossless=True)))
    assert (photo[:, :2] == 255).all()
    assert (np.abs(photo[:, 2:4].astype(int) - 127) <= 1).all()
    assert (photo[:, 4:] == 0).all()


def test_a_transparent_palette_colour_is_white(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 1), 1)
    file = io.BytesIO()
    image.save(file, "GIF", transparency=0)
    photo = read_photo(save(tmp_path, file.getvalue()))
    assert photo[0, 0].tolist() == [255, 255, 255]
    assert photo[1, 1].tolist() == [200, 100, 50]


# Where the corner that was at the top left ends up is what EXIF 2.3 says of each orientation:
# its 0th row and 0th column are, for 6, the right-hand side and the top, and so on.
UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("max_side", [None, 20])
def test_exif_orientation_turns_the_photo_upright(tmp_path, orientation, max_side):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo = read_photo(save(tmp_path, encode(scene(), "JPEG", exif=exif)), max_side)
    expected = UPRIGHT[orientation](scene())
    if max_side:
        expected = resize(np.ascontiguousarray(expected), *((20, 15) if orientation < 5 else (15, 20)))
    assert same_colours(photo, expected)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert same_colours(read_photo(save(tmp_path, encode(scene(), "JPEG", exif=exif))), scene())


def test_damaged_exif_does_not_lose_the_photo(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(scene(), "JPEG", exif=exif)
    start = data.index(b"Exif\0\0") + 6
    assert same_colours(read_photo(save(tmp_path, data[:start] + b"\xff" * 12 + data[start + 12 :])), scene())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WebP"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_truncated_photo_is_refused_and_never_grey(kind, kept):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = encode(noise, kind)
    assert reason(data[: int(len(data) * kept)]) == f"truncated {kind}"


def test_a_truncated_jpeg_is_found_behind_a_whole_thumbnail():
    exif = Image.Exif()
    data = encode(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8), "JPEG", exif=exif)
    thumbnail = encode(scene(8, 8), "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert reason(data[:2] + segment + data[2 : len(data) * 2 // 3]) == "truncated JPEG"


def test_a_jpeg_whose_rest_is_zeros_is_truncated():
    data = encode(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8), "JPEG")
    half = len(data) // 2
    assert reason(data[:half] + bytes(len(data) - half)) == "truncated JPEG"


def test_bytes_after_a_jpegs_end_do_no_harm(tmp_path):
    assert same_colours(read_photo(save(tmp_path, encode(scene(), "JPEG") + b"trailer" * 500)), scene())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page, not a photo"),
        (b"\xef\xbb\xbf\r\n  <html>", "an HTML page, not a photo"),
        (b'{"error": "not found"}', "not a JPEG, PNG, WebP, GIF, BMP or TIFF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not a JPEG, PNG, WebP, GIF, BMP or TIFF"),
        (b"\x00" * 1000, "not a JPEG, PNG, WebP, GIF, BMP or TIFF"),
        (b"\xff\xd8", "truncated JPEG"),
        (b"\xff\xd8\xff\xd9", "damaged JPEG"),
        (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
    ],
)
def test_what_is_no_photo_says_what_it_is(data, expected):
    assert reason(data) == expected


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be huge."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_photo_over_the_limit_is_refused_before_it_is_decoded():
    assert reason(huge_png(15_000, 10_000)) == f"150 megapixels, more than the limit of {MAX_MEGAPIXELS}"
    assert reason(huge_png(60_000, 60_000)).endswith(f"megapixels, more than the limit of {MAX_MEGAPIXELS}")


def test_a_missing_photo_and_a_folder_are_unreadable(tmp_path):
    with pytest.raises(UnreadablePhoto, match=r"gone\.jpg cannot be read: no such file or directory\."):
        read_photo(tmp_path / "gone.jpg")
    with pytest.raises(UnreadablePhoto, match="is a directory"):
        read_photo(tmp_path)


def test_a_photo_of_one_pixel_is_a_photo(tmp_path):
    photo = read_photo(save(tmp_path, encode(np.full((1, 1, 3), 9, np.uint8), "PNG")), max_side=100)
    assert photo.tolist() == [[[9, 9, 9]]]


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((600, 800), 400, (300, 400)),
        ((600, 800), 100, (75, 100)),
        ((800, 600), 333, (333, 250)),
        ((600, 800), 800, (600, 800)),
        ((600, 800), 5000, (600, 800)),
        ((3, 2000), 100, (1, 100)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_longest_side_is_kept_within_max_side_and_never_enlarged(tmp_path, size, max_side, expected, kind):
    assert read_photo(save(tmp_path, encode(scene(*size), kind)), max_side).shape == (*expected, 3)


def test_a_scaled_jpeg_looks_like_the_whole_one_resized(tmp_path):
    smooth = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (640, 480, 3), dtype=np.uint8), (0, 0), 12)
    stretched = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)
    path = save(tmp_path, encode(stretched, "JPEG", quality=95))
    scaled, whole = read_photo(path, max_side=100), resize(read_photo(path), 75, 100)
    assert np.abs(scaled.astype(int) - whole).mean() < 2


@pytest.mark.parametrize(
    ("enough", "max_side", "expected"),
    [
        (96, None, (150, 200)),  # 1/4 has 150 rows, 1/8 would have 75
        (75, None, (75, 100)),
        (76, None, (150, 200)),
        (400, 1024, (600, 800)),
        (96, 120, (90, 120)),  # within `max_side` whatever is enough
        (5000, None, (600, 800)),
    ],
)
def test_a_jpeg_is_decoded_at_the_smallest_scale_whose_shorter_side_is_enough(tmp_path, enough, max_side, expected):
    path = save(tmp_path, encode(scene(600, 800), "JPEG"))
    assert read_photo(path, max_side, enough).shape == (*expected, 3)


def variants() -> dict[str, bytes]:
    """JPEGs of all the kinds that are decoded differently."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    noise = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
    kinds = {
        **{f"subsampled {number}": encode(scene(), "JPEG", subsampling=number) for number in (0, 1, 2)},
        "noise": encode(noise, "JPEG", quality=60),
        "progressive": encode(scene(), "JPEG", progressive=True),
        "turned": encode(scene(), "JPEG", exif=exif),
        "grey": encode(scene()[..., 0], "JPEG"),
    }
    with io.BytesIO() as file:
        Image.fromarray(scene()).convert("CMYK").save(file, "JPEG")
        return kinds | {"cmyk": file.getvalue()}


@pytest.mark.skipif(lmk.data.images.simplejpeg is None, reason="needs simplejpeg")
@pytest.mark.parametrize(("kind", "data"), variants().items(), ids=list(variants()))
@pytest.mark.parametrize("enough", [None, 60, 20])
def test_simplejpeg_gives_the_pixels_that_pillow_gives(kind, data, enough, monkeypatch):
    quick = decode_photo(data, enough=enough)
    monkeypatch.setattr(lmk.data.images, "simplejpeg", None)
    np.testing.assert_array_equal(quick, decode_photo(data, enough=enough))


@pytest.mark.skipif(lmk.data.images.simplejpeg is None, reason="needs simplejpeg")
@given(width=st.integers(1, 80), height=st.integers(1, 80), least=st.integers(1, 90), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_a_scale_is_chosen_as_pillow_chooses_it(width, height, least, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    data = encode(pixels, "JPEG")
    quick = decode_photo(data, enough=least)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lmk.data.images, "simplejpeg", None)
        np.testing.assert_array_equal(quick, decode_photo(data, enough=least))


@pytest.mark.skipif(lmk.data.images.simplejpeg is None, reason="needs simplejpeg")
@pytest.mark.parametrize("kind", ["subsampled 0", "subsampled 1", "subsampled 2", "noise"])
def test_a_plain_jpeg_needs_nothing_of_pillow(kind, monkeypatch):
    monkeypatch.setattr(lmk.data.images.Image, "open", None)
    assert decode_photo(variants()[kind]).shape[2] == 3


@pytest.mark.skipif(lmk.data.images.simplejpeg is None, reason="needs simplejpeg")
def test_what_simplejpeg_refuses_is_judged_by_pillow(monkeypatch):
    data = bytearray(encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG"))
    told = []
    for place in range(len(data) // 2, len(data) - 4, 97):
        flawed = bytes(data[:place] + b"\xff\xd3" + data[place + 2 :])
        for library in (lmk.data.images.simplejpeg, None):
            monkeypatch.setattr(lmk.data.images, "simplejpeg", library)
            try:
                told.append(decode_photo(flawed).tobytes())
            except LmkError as error:
                told.append(str(error))
    assert told[::2] == told[1::2]
    assert len(told) > 10


def test_the_result_is_contiguous_and_may_be_written_to(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    photo = read_photo(save(tmp_path, encode(scene(), "JPEG", exif=exif)))
    assert photo.flags.c_contiguous
    photo[0, 0] = 1


@pytest.mark.parametrize("size", [(30, 40), (64, 48), (20, 90), (3, 4), (7, 48)])
def test_resize_writes_the_same_pixels_into_an_array_that_is_given(size):
    photo = scene(48, 64)
    out = np.zeros((size[1], size[0], 3), np.uint8)
    assert resize(photo, *size, out) is out
    np.testing.assert_array_equal(out, resize(photo, *size))


def test_resize_averages_the_side_that_shrinks_while_the_other_grows():
    stripes = np.tile(np.array([0, 200], np.uint8), 50)[None, :, None].repeat(3, axis=2)  # 1 x 100
    assert np.unique(resize(stripes, 25, 4)).tolist() == [100]


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(30, 160),
    width=st.integers(30, 160),
    down=st.floats(1, 9),
    across=st.floats(1, 9),
    seed=st.integers(0, 99),
)
def test_a_photo_that_shrinks_is_about_the_mean_by_area(height, width, down, across, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    photo = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)
    wanted = max(1, int(width / across)), max(1, int(height / down))
    by_area = cv2.resize(photo, wanted, interpolation=cv2.INTER_AREA).astype(int)
    difference = resize(photo, *wanted) - by_area
    assert np.sqrt((difference**2).mean()) < 2
    assert abs(difference.mean()) < 1  # neither lighter nor darker


@pytest.mark.parametrize("shrinks", [1.3, 1.6, 2, 2.3, 3, 4.5, 7])
def test_a_pattern_finer_than_a_pixel_becomes_grey_as_it_does_by_area(shrinks):
    board = (np.indices((240, 240)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    side = round(240 / shrinks)
    by_area = cv2.resize(board, (side, side), interpolation=cv2.INTER_AREA)
    assert resize(board, side, side).std() < by_area.std() + 1


def test_a_photo_that_shrinks_to_a_half_or_a_quarter_is_the_mean_of_its_pixels():
    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for part in (2, 4):
        blocks = photo.reshape(48 // part, part, 64 // part, part, 3).mean(axis=(1, 3))
        assert np.abs(resize(photo, 64 // part, 48 // part) - blocks).max() <= 1


def test_an_unreadable_photo_travels_between_processes():
    error = pickle.loads(pickle.dumps(UnreadablePhoto(Path("a.jpg"), "empty file")))
    assert (error.path, error.reason, str(error)) == (Path("a.jpg"), "empty file", "a.jpg cannot be read: empty file.")


SAMPLES = {kind: encode(scene(24, 32), kind) for kind in ["JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF"]}


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(sorted(SAMPLES)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    kept=st.floats(0.05, 1),
)
def test_damage_of_any_kind_ends_in_pixels_or_in_a_reason(kind, changes, kept):
    data = bytearray(SAMPLES[kind])
    for place, patch in changes:
        start = int(place * (len(data) - 1))
        data[start : start + len(patch)] = patch
    try:
        photo = decode_photo(bytes(data[: int(len(data) * kept)]))
    except LmkError as error:
        assert 0 < len(str(error)) < 100
    else:
        assert photo.dtype == np.uint8
        assert photo.ndim == 3
        assert photo.shape[2] == 3


def test_bad_files_print_nothing(tmp_path):
    whole = encode(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8), "JPEG")
    middle = len(whole) // 2
    bad = {
        "corrupt": whole[:middle] + b"\x12\xff\xc4" * 7 + whole[middle + 21 :],
        "cut": whole[:middle],
        "large": huge_png(12_000, 8_000),
        "tiff": SAMPLES["TIFF"][:60] + b"\xff" * 40 + SAMPLES["TIFF"][100:],
        "page": b"<html>",
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    code = (
        "import sys, pathlib\nfrom lmk.data.images import read_photo, UnreadablePhoto\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: read_photo(path)\n    except UnreadablePhoto: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_real_photos_are_read(shared):
    paths = sorted((shared / "data" / "pairs").glob("*.jpg"))
    assert len(paths) == 10
    for path in paths:
        expected = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)  # a decoder of its own
        assert np.abs(read_photo(path).astype(int) - expected).max() <= 2


def webp_header(kind: bytes, width: int, height: int) -> bytes:
    """The beginning of a WebP file that declares a size, and garbage for pixels."""
    if kind == b"VP8X":
        body = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8L":
        body = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + bytes(5)
    else:
        body = b"\x10\x02\0\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return (
        b"RIFF"
        + (4 + 8 + 10 + 40).to_bytes(4, "little")
        + b"WEBP"
        + kind
        + (10).to_bytes(4, "little")
        + body
        + bytes(40)
    )


@pytest.mark.parametrize("kind", [b"VP8X", b"VP8L", b"VP8 "])
def test_a_webp_that_declares_too_much_is_refused_before_anything_is_made_room_for(kind, monkeypatch):
    monkeypatch.setattr(lmk.data.images.Image, "open", lambda *_, **__: pytest.fail("Pillow was asked"))
    with pytest.raises(LmkError, match="268 megapixels, more than the limit"):
        decode_photo(webp_header(kind, 16383, 16383))


@pytest.mark.parametrize(("mode", "options"), [("RGB", {}), ("RGB", {"lossless": True}), ("RGBA", {"lossless": True})])
def test_the_size_in_a_webp_header_is_that_of_the_photo(mode, options):
    with io.BytesIO() as file:
        Image.new(mode, (71, 33), 7).save(file, "WEBP", exif=Image.Exif(), **options)
        assert webp_size(file.getvalue()) == (71, 33)


def progressive(size: int) -> bytes:
    with io.BytesIO() as file:
        Image.effect_noise((size, size), 60).convert("RGB").save(file, "JPEG", progressive=True)
        return file.getvalue()


def with_scans(data: bytes, scans: int) -> bytes:
    """The JPEG with its last scan repeated until it has so many."""
    end, last = data.rindex(b"\xff\xd9"), data.rindex(b"\xff\xda")
    return data[:end] + data[last:end] * (scans - count_scans(data)) + data[end:]


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(monkeypatch):
    data = progressive(64)
    assert 5 < count_scans(data) < 20
    assert decode_photo(data).shape == (64, 64, 3)
    hidden = data.replace(b"\xff\xda", b"\xff\xfe\x00\x06\xff\xd9\xff\xd9" + b"\xff\xda", 1)  # an end within a comment
    assert count_scans(hidden) == count_scans(data)
    with pytest.raises(LmkError, match="more than 64 scans"):
        decode_photo(with_scans(data, 2000))
    monkeypatch.setattr(lmk.data.images, "MAX_SCANNED_MEGAPIXELS", 0.03)
    with pytest.raises(LmkError, match="scans over"):
        decode_photo(data)


@pytest.mark.parametrize(("kind", "data"), variants().items(), ids=list(variants()))
def test_a_jpegs_header_says_whether_it_has_one_scan(kind, data):
    header = jpeg_header(data)
    assert header.end == data.index(b"\xff\xda")
    assert header.one_scan == (kind != "progressive")
    assert header.one_scan == (count_scans(data) == 1)


@pytest.mark.parametrize(("kind", "data"), variants().items(), ids=list(variants()))
def test_a_jpegs_header_gives_its_size_where_nothing_but_the_pixels_counts(kind, data):
    with Image.open(io.BytesIO(data)) as image:
        plain = kind in ("subsampled 0", "subsampled 1", "subsampled 2", "noise")
        assert jpeg_header(data).size == (image.size if plain else None)


def test_a_jpeg_of_adobes_or_of_more_than_8_bits_is_left_to_pillow():
    data = encode(scene(), "JPEG")
    assert jpeg_header(data).size == (scene().shape[1], scene().shape[0])
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"
    assert jpeg_header(data[:2] + adobe + data[2:]).size is None
    frame = data.index(b"\xff\xc0")
    assert jpeg_header(data[: frame + 4] + b"\x0c" + data[frame + 5 :]).size is None


def test_a_scan_of_some_components_is_not_the_only_one():
    data = bytearray(encode(scene(), "JPEG"))
    data[data.index(b"\xff\xda") + 4] = 1  # of three
    assert not jpeg_header(bytes(data)).one_scan


def test_a_header_that_decoders_read_otherwise_hides_no_scans():
    many = with_scans(progressive(64), 100)
    comments = [b"\xff\xfe" + struct.pack(">H", 2 + length) for length in (40_000, 40_000)]
    frame = b"\xff\xc0\0\x11\x08\0\x40\0\x40\x03" + bytes(9) + b"\xff\xda\0\x0c\x03"
    # A reader that takes the comment's marker for the length of the bare one before it goes on within the second.
    place = 2 + 2 + 0xFFFE
    start = many[:2] + b"\xff\x01" + comments[0] + bytes(40_000) + comments[1]
    hidden = start + bytes(place - len(start)) + frame
    hidden += bytes(len(start) + 40_000 - len(hidden)) + many[2:]
    assert hidden[place : place + 2] == b"\xff\xc0"
    assert reason(hidden) == "a JPEG of more than 64 scans"


def test_threads_decode_within_one_budget_and_a_large_photo_waits():
    budget, most, held = lmk.data.images._Budget(100), [], []

    def decode(size: int) -> None:
        with budget.hold(size):
            held.append(min(size, 100))
            most.append(sum(held))
            time.sleep(0.002)
            held.remove(min(size, 100))

    threads = [threading.Thread(target=decode, args=(size,)) for size in (60, 50, 1000, 30, 20, 70) * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert max(most) <= 100
    assert budget.free == 100


def test_too_little_memory_is_told_apart_from_damage(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(progressive(16))

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(lmk.data.images, "_turn", fail)
    with pytest.raises(UnreadablePhoto, match="too little memory") as caught:
        read_photo(tmp_path / "a.jpg")
    assert not caught.value.damaged
    assert not pickle.loads(pickle.dumps(caught.value)).damaged


def test_a_tiff_with_tiles_larger_than_any_photo_is_refused():
    values = {256: 16, 257: 16, 258: 8, 259: 5, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 10}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    data = struct.pack("<2sHIH", b"II", 42, 8, len(values)) + entries + bytes(4)
    with pytest.raises(LmkError, match="3,600 megapixels, more than the limit"):
        decode_photo(data)


def test_a_pipe_is_no_photo(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(UnreadablePhoto, match="device or pipe"):
        read_photo(tmp_path / "a.jpg")
