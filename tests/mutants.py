"""Damage as it happens to files: deterministic mutants of bytes and of the tokens of a text."""

import re
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

_SEPARATORS = re.compile(rb"([\s,;:/()+=<>\"&#]+)")
_TOKENS = (
    b"", b"0", b"1", b"-1", b"2", b"12", b"16", b"80", b"212", b"0x10", b"1e3", b"1e308", b"nan",
    b"inf", b"-0", b"00", b"+1", b"1.5", b"0.0", b"1_000", b"65535", b"65536", b"-32768",
    b"2147483648", b"99999999999999999999", b"..", b"../../etc/passwd", b"/etc/passwd", b"~",
    b"mV", b"uV", b"V", b"I", b"II", b"\xb2", b"\xd9\xa3", b"\xff\xfe", b"\x00", b"%s", b"#", b"~",
)  # fmt: skip
_SIZES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutants(data: bytes, count: int, seed: str = "", text: bool | None = None) -> Iterator[bytes]:
    """Yield `count` damaged versions of `data`, always the same for the same `seed`.

    `text` adds damage to tokens and lines; by default it is guessed from the data.
    """
    if text is None:
        text = b"\0" not in data
    damages = _OF_TEXT if text else _OF_BYTES
    for index in range(count):
        random = Random(f"{seed} {index}")
        mutant = data
        while mutant == data:
            for _ in range(1 if random.random() < 0.7 else random.randint(2, 4)):
                mutant = random.choice(damages)(mutant, random)
        yield mutant


@contextmanager
def little_memory(size: int = 1 << 30) -> Iterator[None]:
    """Turn an allocation that only a lie in a file asks for into a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# --- bytes -------------------------------------------------------------------------------------


def _place(data: bytes, random: Random) -> int:
    """A place in the data, half of the time near its start, where headers are."""
    end = min(len(data), 256) if random.random() < 0.5 else len(data)
    return random.randrange(end) if end else 0


def flip_bit(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return (
        data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :] if data else b""
    )


def set_byte(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]


def insert_bytes(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + random.randbytes(random.choice((1, 1, 2, 3, 8))) + data[at:]


def delete_bytes(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at + random.choice((1, 1, 2, 3, 8)) :]


def duplicate_bytes(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    end = at + random.choice((1, 2, 4, 16, 64))
    return data[:end] + data[at:]


def truncate(data: bytes, random: Random) -> bytes:
    return data[: _place(data, random)]


def splice(data: bytes, random: Random) -> bytes:
    """Copy a piece over another place."""
    here, there = _place(data, random), _place(data, random)
    size = random.choice((1, 2, 4, 16, 64))
    return data[:here] + data[there : there + size] + data[here + size :]


def set_size(data: bytes, random: Random) -> bytes:
    """Overwrite what may be a size or an offset with an extreme number."""
    at = _place(data, random) // 2 * 2
    code = random.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    packed = struct.pack(code, random.choice(_SIZES) & (256 ** struct.calcsize(code) - 1))
    return data[:at] + packed + data[at + len(packed) :]


# --- tokens and lines --------------------------------------------------------------------------


def _with_token(data: bytes, random: Random, change: Callable[[list[bytes], int], None]) -> bytes:
    parts = _SEPARATORS.split(data)  # tokens at even places, separators between them
    change(parts, random.randrange(0, len(parts), 2))
    return b"".join(parts)


def replace_token(data: bytes, random: Random) -> bytes:
    return _with_token(data, random, lambda p, i: p.__setitem__(i, random.choice(_TOKENS)))


def copy_token(data: bytes, random: Random) -> bytes:
    return _with_token(data, random, lambda p, i: p.__setitem__(i, random.choice(p[::2])))


def delete_token(data: bytes, random: Random) -> bytes:
    return _with_token(data, random, lambda p, i: p.__delitem__(slice(i, i + 2)))


def duplicate_token(data: bytes, random: Random) -> bytes:
    return _with_token(data, random, lambda p, i: p.__setitem__(i, p[i] + b" " + p[i]))


def swap_tokens(data: bytes, random: Random) -> bytes:
    def swap(parts: list[bytes], i: int) -> None:
        j = random.randrange(0, len(parts), 2)
        parts[i], parts[j] = parts[j], parts[i]

    return _with_token(data, random, swap)


def change_separator(data: bytes, random: Random) -> bytes:
    def change(parts: list[bytes], i: int) -> None:
        if i + 1 < len(parts):
            parts[i + 1] = random.choice((b"", b" ", b"  ", b"\t", b"\n", b",", b"/", b"(", b":"))

    return _with_token(data, random, change)


def change_digit(data: bytes, random: Random) -> bytes:
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return set_byte(data, random)
    at = random.choice(places)
    digit = b"%d" % random.randrange(10)
    return data[:at] + random.choice((digit, digit + data[at : at + 1], b"")) + data[at + 1 :]


def change_number(data: bytes, random: Random) -> bytes:
    """Nudge, negate, double, halve or scale one number."""
    found = list(re.finditer(rb"-?\d+", data))
    if not found:
        return set_byte(data, random)
    match = random.choice(found)
    value = int(match[0])
    other = random.choice(
        (value + 1, value - 1, -value, value * 2, value // 2, value * 10, value * 1000, ~value)
    )
    return data[: match.start()] + b"%d" % other + data[match.end() :]


def _with_line(data: bytes, random: Random, change: Callable[[list[bytes], int], None]) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    change(lines, random.randrange(len(lines)))
    return b"".join(lines)


def delete_line(data: bytes, random: Random) -> bytes:
    return _with_line(data, random, lambda lines, i: lines.__delitem__(i))


def duplicate_line(data: bytes, random: Random) -> bytes:
    return _with_line(data, random, lambda lines, i: lines.insert(i, lines[i]))


def swap_lines(data: bytes, random: Random) -> bytes:
    def swap(lines: list[bytes], i: int) -> None:
        j = random.randrange(len(lines))
        lines[i], lines[j] = lines[j], lines[i]

    return _with_line(data, random, swap)


_OF_BYTES = (
    flip_bit, set_byte, insert_bytes, delete_bytes, duplicate_bytes, truncate, splice, set_size,
)  # fmt: skip
_OF_TEXT = (
    *_OF_BYTES[:-1],
    replace_token, copy_token, delete_token, duplicate_token, swap_tokens, change_separator,
    change_digit, change_number, delete_line, duplicate_line, swap_lines,
)  # fmt: skip
