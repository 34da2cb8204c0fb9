"""Text from files, models and the Hub, made safe to show and to store."""

import unicodedata


def as_utf8(name: str) -> str:
    r"""Returns a file name with the bytes that are not UTF-8 written out.

    Example:
        >>> print(as_utf8(b"cell\xff.png".decode("utf-8", "surrogateescape")))
        cell\udcff.png
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    r"""Returns a text as one line, with line breaks, control and direction characters written out.

    A terminal obeys such characters: a file name could clear the screen or imitate a line of output.

    Example:
        >>> print(printable("a\n\x1b[2Jb é.png"))
        a\n\x1b[2Jb é.png
    """
    return "".join(character if _is_shown(character) else _written_out(character) for character in text)


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
