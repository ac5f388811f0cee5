"""How the sample's samples are packed: about 830 bytes for 10 s at 100 Hz, without any loss.

Each recording is replaced by the differences between neighbours, small and of either sign; the
sign moves to the lowest bit (0, -1, 1, -2 ... become 0, 1, 2, 3 ...), so that the high bytes are
nearly all zero. All low bytes, then all high bytes, make up one xz file.
"""

import lzma

import numpy as np
from numpy.typing import NDArray


def pack(signals: NDArray[np.int16]) -> bytes:
    """Pack (recordings, time) whole numbers."""
    steps = np.diff(signals, axis=1, prepend=np.int16(0))  # wraps around, and back in `unpack`
    folded = (steps << 1) ^ (steps >> 15)
    planes = folded.astype("<u2", casting="unsafe").view(np.uint8).reshape(-1, 2).T
    return lzma.compress(planes.tobytes(), preset=9 | lzma.PRESET_EXTREME)


def unpack(packed: bytes, count: int, length: int) -> NDArray[np.int16]:
    """Return the (count, length) whole numbers that were packed."""
    size = 2 * count * length
    planes = lzma.LZMADecompressor().decompress(packed, size + 1)  # one more: too long shows
    if len(planes) != size:
        raise ValueError(f"{len(planes)} bytes where {size} were packed")
    low, high = np.frombuffer(planes, np.uint8).reshape(2, count, length).astype(np.uint16)
    folded = low | high << 8
    steps = (folded >> 1) ^ -(folded & 1)
    return np.cumsum(steps.view(np.int16), axis=1, dtype=np.int16)
