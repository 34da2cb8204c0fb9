"""Writer of UBJSON in the variant of XGBoost."""

import numpy as np


def length(count):
    return b"L" + count.to_bytes(8, signed=True)


def text(value):
    return length(len(value.encode())) + value.encode()


def write(value):
    """Returns the UBJSON bytes of a value."""
    if value is None or isinstance(value, bool):
        return {None: b"Z", True: b"T", False: b"F"}[value]
    if isinstance(value, int):
        return b"L" + value.to_bytes(8, signed=True)
    if isinstance(value, float):
        return b"D" + np.array(value, ">f8").tobytes()
    if isinstance(value, str):
        return b"S" + text(value)
    if isinstance(value, list):
        return b"[#" + length(len(value)) + b"".join(map(write, value))
    return b"{" + b"".join(text(key) + write(inner) for key, inner in value.items()) + b"}"
