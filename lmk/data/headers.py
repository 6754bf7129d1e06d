"""What a photo's file says before it is decoded: its format, a JPEG's segments and scans, the size of a WebP."""

import re
from typing import NamedTuple

from lmk.util.errors import LmkError

MAX_SCANS = 64
"""Scans of a JPEG at the most; encoders write about 10, and each goes over all pixels anew."""

_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""A JPEG's marker; within a scan 0xFF is followed by 0 or is a restart."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frames: coded progressively, hierarchically, without loss, ...; a file has one."""
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
"""Markers of frames whose coefficients come in one sequence: baseline, extended, extended with arithmetic coding."""
_TELLING = {0xE1: b"Exif", 0xEE: b"Adobe"}
"""Markers of segments that say how pixels are meant, and what these begin with: the orientation, the colours."""
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
"""What follows 0xFF without a length behind it."""
_SCAN = b"\xff\xda"
"""The marker at the start of a scan; it cannot stand within one."""
_SIGNATURES = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


class Unreadable(LmkError):
    """Why a photo cannot be read, in a few words, without a path; `damaged` as in `UnreadablePhoto`."""

    def __init__(self, reason: str, damaged: bool = True):
        super().__init__(reason)
        self.damaged = damaged


def kind_of(data: bytes) -> str:
    """The format of a photo's file by its first bytes: JPEG, PNG, GIF, WebP, BMP or TIFF.

    Raises:
        Unreadable: Empty, or nothing of these.
    """
    if not data:
        raise Unreadable("empty file")
    if data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise Unreadable("an HTML page, not a photo")
    kind = next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None)
    if kind is None:
        raise Unreadable("not a JPEG, PNG, WebP, GIF, BMP or TIFF")
    return kind


class JpegHeader(NamedTuple):
    """What precedes the first scan of a JPEG.

    Attributes:
        end: Position of the first scan's marker, or of what is no marker.
        one_scan: Whether decoders read a single scan, whatever follows it: coefficients come in one sequence, not
            progressively, and the first scan holds all components. False where the header is odd in any way.
        size: Width and height in pixels of a photo as nearly all are: one scan, three components of 8 bits, and no
            metadata that could turn it or say which colours they are. None where Pillow has to look at the metadata.
    """

    end: int
    one_scan: bool
    size: tuple[int, int] | None = None


def jpeg_header(data: bytes) -> JpegHeader:
    """Pass by the segments before the first scan of a JPEG (ITU T.81, B.2)."""
    place, components, odd, size, plain = 2, 0, False, (0, 0), True
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == 0xDA:
            one_scan = not odd and components > 0 and data[place + 4 : place + 5] == bytes([components])
            return JpegHeader(place, one_scan, size if one_scan and plain and components == 3 else None)
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _SEQUENTIAL and not components:
            frame = data[place + 4 : place + 10].ljust(6, b"\0")
            size, components = (int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")), frame[5]
            plain = plain and frame[0] == 8
        else:
            odd = odd or marker in _FRAMES
        odd = odd or length < 2 or marker in _BARE  # here decoders may go on at another place
        plain = plain and not (marker in _TELLING and data.startswith(_TELLING[marker], place + 4))
        place += 2 + length
    return JpegHeader(place, False)


def count_scans(data: bytes) -> int:
    """Scans of a JPEG, counted up to one more than `MAX_SCANS`; segments are passed by, whatever lies in them."""
    if (first := data.find(_SCAN)) >= 0 and data.find(_SCAN, first + 2) < 0:
        return 1  # no search of all markers, which takes a quarter of the time of decoding
    scans, place = 0, 2
    while scans <= MAX_SCANS and (found := _MARKER.search(data, place)):
        place, marker = found.end(), data[found.end() - 1]
        if marker == 0xD9:
            break
        if marker not in (0x01, 0xD8):  # all others have a length
            scans += marker == 0xDA
            place += int.from_bytes(data[place : place + 2], "big")
    return scans


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels in the header of a WebP file (RFC 9649, sections 2.5 to 2.7).

    Raises:
        Unreadable: The header is cut off or damaged.
    """
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X" and len(body) == 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) == 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise Unreadable("truncated WebP" if len(data) < 30 else "damaged WebP")
