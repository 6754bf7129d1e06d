"""Text from others (names, messages, files, servers) made safe to print: literal, every control character shown."""

import re
from collections.abc import Mapping
from typing import Any

_CONTROLS = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: terminal escapes begin with ESC, CSI or OSC
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of direction: what follows reads in another order
    "\u2028\u2029"  # line and paragraph separators
    "\xad\u180e\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"  # invisible: two names look alike
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\ud800-\udfff"  # surrogates: bytes of a name that is not UTF-8, which no stream can encode
    "]"
)
_BLOCK = re.compile(_CONTROLS.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
"""As `_CONTROLS`, but for tabs and ends of lines."""


def safe(text: object, lines: bool = False) -> str:
    r"""`str(text)` with each control character written as Python writes it: `\x1b`, `\n`, `\u202e`.

    Whatever is printed that comes from others goes through this; what it returns is literal text for a terminal, so no
    library may take it for markup after that. A byte of a file name that is not UTF-8 is shown as `\xe9`. Nothing else
    changes, and safe text stays as it is.

    Args:
        text: Anything with a text.
        lines: Whether tabs and ends of lines stay (and `\r\n` becomes `\n`): for text of several lines, such as a log.
    """
    found = str(text)
    return _BLOCK.sub(_shown, found.replace("\r\n", "\n")) if lines else _CONTROLS.sub(_shown, found)


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is no UTF-8
        code -= 0xDC00
    short = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def described(entries: Mapping[str, Any]) -> str:
    """The entries of a registry for a help text: each name with its attribute `about`."""
    return "; ".join(f"{name} ({entry.about})" for name, entry in entries.items())


def span(seconds: float) -> str:
    """Seconds for people: `90 s`, `5.0 min`, `12 h`."""
    for least, unit in ((3 * 86400, "days"), (3 * 3600, "h"), (180, "min")):
        if seconds >= least:
            value = seconds / {"days": 86400, "h": 3600, "min": 60}[unit]
            return f"{value:,.0f} {unit}" if value >= 20 else f"{value:,.1f} {unit}"
    return f"{seconds:,.0f} s"
