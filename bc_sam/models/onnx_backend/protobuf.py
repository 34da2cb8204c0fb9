"""The wire format of protobuf, as far as ONNX files need it: what follows what, without the meaning of any field."""

from collections.abc import Iterator

# Wire types: a varint, 8 bytes, a length followed by so many bytes, 4 bytes. Groups, the others, are obsolete.
_VARINT, _EIGHT, _DELIMITED, _FOUR = 0, 1, 2, 5

# A key is read as 32 bits, of which parsers differ in what they do with more; any other number as 64.
_KEY_LIMIT, _MOST_VARINT_BYTES = 2**32, 10


def delimited_fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields the number and content of each field of a message that has a length: messages, texts, bytes and arrays.

    Raises:
        ValueError: If it is no message, or ends in the middle of a field.

    Example:
        >>> [(number, bytes(part)) for number, part in delimited_fields(memoryview(bytes.fromhex("080112026162")))]
        [(2, b'ab')]
    """
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        length = 0
        if key & 7 == _VARINT:
            _, position = _read_varint(message, position)
        elif key & 7 == _DELIMITED:
            length, position = _read_varint(message, position)
        elif key & 7 in (_EIGHT, _FOUR):
            length = 8 if key & 7 == _EIGHT else 4
        else:
            raise ValueError("a field of an unknown type")
        if key >= _KEY_LIMIT or position + length > len(message):
            raise ValueError("a field that ends nowhere")
        if key & 7 == _DELIMITED:
            yield key >> 3, message[position : position + length]
        position += length


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Returns the number at a position, and the position behind it."""
    value = 0
    for index, byte in enumerate(message[position : position + _MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("a number that ends nowhere")


def delimited(field: int, length: int) -> bytes:
    """Returns what stands before the content of a field, of which the length is given in bytes."""
    return varint(field << 3 | _DELIMITED) + varint(length)


def varint(value: int) -> bytes:
    """Encodes an integer in groups of seven bits, the lowest first.

    Example:
        >>> varint(300).hex()
        'ac02'
    """
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
