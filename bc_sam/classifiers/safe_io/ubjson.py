"""Reads Universal Binary JSON as written by XGBoost: every length is explicit, and numeric arrays are typed."""

from collections.abc import Iterator
from typing import Any

import numpy as np

_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_CONSTANTS = {b"T": True, b"F": False, b"Z": None}
_MAX_DEPTH = 32  # XGBoost's own reader recurses in C++, without a limit


class UbjsonReader:
    """Reads successive values, never past the end of the data.

    Args:
        data: UBJSON written by XGBoost.

    Attributes:
        position: Offset of the next value in bytes.

    Example:
        >>> UbjsonReader(b"[$l#L" + (2).to_bytes(8) + (7).to_bytes(4) + (8).to_bytes(4)).value().tolist()
        [7, 8]
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def value(self, depth: int = 0) -> Any:
        """Returns the next value: plain Python objects, and numpy arrays for typed numeric arrays.

        Raises:
            ValueError: If the data is truncated or uses a feature of UBJSON that XGBoost does not.
        """
        if depth > _MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        marker = self._data[self.position : self.position + 1]
        if marker == b"{":
            return {key: self.value(depth + 1) for key in self.keys()}
        self.position += 1
        if marker == b"[":
            return self._array(depth)
        if marker == b"S":
            return self._take(self._length()).decode()
        return _CONSTANTS[marker] if marker in _CONSTANTS else self._numbers(marker, 1)[0].item()

    def keys(self) -> Iterator[str]:
        """Yields the keys of the next value, an object; read the value of each key before the next key."""
        self._expect(b"{")
        seen = set()
        while (marker := self._take(1)) != b"}":
            self.position -= len(marker)
            key = self._take(self._length()).decode()
            if key in seen:
                raise ValueError(f"the key {key!r} occurs twice")
            seen.add(key)
            yield key

    def _array(self, depth: int) -> Any:
        marker = self._take(1)
        if marker == b"$":
            kind = self._take(1)
            self._expect(b"#")
            return self._numbers(kind, self._length())
        if marker != b"#":
            raise ValueError("an array has no length")
        return [self.value(depth + 1) for _ in range(self._length())]

    def _numbers(self, kind: bytes, count: int) -> np.ndarray:
        if kind not in _NUMBERS:
            raise ValueError(f"{kind!r} is not a numeric type")
        dtype = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self._take(count * dtype.itemsize), dtype)

    def _length(self) -> int:
        self._expect(b"L")
        length = int.from_bytes(self._take(8), signed=True)
        if length < 0:
            raise ValueError("a length is negative")
        return length

    def _expect(self, marker: bytes) -> None:
        if self._take(1) != marker:
            raise ValueError(f"{marker!r} is missing at byte {self.position - 1}")

    def _take(self, count: int) -> bytes:
        taken = self._data[self.position : self.position + count]
        if len(taken) < count:
            raise ValueError("it is truncated")
        self.position += count
        return taken
