"""Frozen dataclasses that go to JSON and come back checked: unknown names and wrong types become one clear error."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from bc_sam.errors import ConfigError

_MAX_BYTES = 64 * 2**20


class JsonConfig:
    """Base of every configuration dataclass: a JSON round trip that refuses what it does not know.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Size(JsonConfig):
        ...     width: int = 3
        >>> Size.from_dict(Size(4).to_dict(), where="size.json")
        Size(width=4)
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data that `json.dumps` takes and `from_dict` reads back to an equal instance."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, data: Any, *, where: str = "the configuration") -> Self:
        """Builds an instance from plain data, checking every field, nested ones too.

        Args:
            data: What `json.loads` returned.
            where: File or option that the data came from, for the error message.

        Raises:
            ConfigError: If a field is unknown, missing, of the wrong type or out of range.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(data)
        except ConfigError as error:  # from a field's own check, which does not know the file
            raise ConfigError(f"{where}: {error}") from None
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())
            message = f"{where} is not a valid {cls.__name__}: {problems}. Correct or remove these fields."
            raise ConfigError(message) from None

    def save(self, path: Path | str) -> None:
        """Writes the instance as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads what `save` wrote.

        Raises:
            ConfigError: If the file is missing, is no JSON, or holds something else.
        """
        return cls.from_dict(read_json(path), where=str(path))


def read_json(path: Path | str) -> Any:
    """Reads a JSON file, of at most 64 MB: the file may come from a stranger.

    Raises:
        ConfigError: If it is missing, is no JSON, or is larger or nested more deeply than any that is meant.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)  # the size that the system tells may be wrong, as of a device
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"{path} has more than {_MAX_BYTES} bytes, which no file of bc_sam has. Do not use it.")
        return json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}.") from error
