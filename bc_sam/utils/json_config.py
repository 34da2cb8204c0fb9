"""Dataclasses that round-trip through JSON: every field is validated on reading, and renamed keys are still read."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bc_sam.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_MAX_BYTES = 64 * 2**20


class JsonConfig:
    """Base of every configuration dataclass: a JSON round trip that rejects unknown keys and wrong types.

    Attributes:
        renamed_keys: Former name of each renamed field, mapped to its current name. Data written before the rename is
            read under the former name, at any nesting depth; only the current name is written.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Size(JsonConfig):
        ...     width: int = 3
        >>> Size.from_dict(Size(4).to_dict(), where="size.json")
        Size(width=4)
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    renamed_keys: ClassVar[Mapping[str, str]] = {}

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
            ConfigError: If a field is unknown, missing, of the wrong type or out of range, or is given under both its
                current and its former name.
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

    def updated(self, changes: Mapping[str, Any], *, where: str = "the configuration") -> Self:
        """Returns a copy with some fields changed, validated as by `from_dict`.

        Args:
            changes: New values by field name, current or former. The value of a nested configuration may be a mapping
                that holds only the fields to change.
            where: File or option that the changes came from, for the error message.

        Raises:
            ConfigError: As for `from_dict`.

        Example:
            >>> from dataclasses import dataclass, field
            >>> @dataclass(frozen=True)
            ... class Size(JsonConfig):
            ...     width: int = 3
            ...     height: int = 4
            >>> @dataclass(frozen=True)
            ... class Picture(JsonConfig):
            ...     size: Size = field(default_factory=Size)
            >>> Picture().updated({"size": {"width": 5}})
            Picture(size=Size(width=5, height=4))
        """
        try:
            merged = self._merged(changes)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        return self.from_dict(merged, where=where)

    def _merged(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        merged = self.to_dict()
        for key, value in self._with_current_keys(changes).items():
            nested = getattr(self, key, None)
            if isinstance(nested, JsonConfig) and isinstance(value, Mapping):
                value = nested._merged(value)
            merged[key] = value
        return merged

    @classmethod
    def _with_current_keys(cls, data: Any) -> Any:
        """Replaces former keys of plain data by the current ones; leaves anything but a mapping alone."""
        if not isinstance(data, Mapping):
            return data
        for former, current in cls.renamed_keys.items():
            if former in data and current in data:
                raise ConfigError(f"{former} was renamed to {current}, and both are given. Remove {former}.")
        return {cls.renamed_keys.get(key, key): value for key, value in data.items()}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        from pydantic_core import core_schema

        schema = handler(source)
        own: Any = handler.resolve_ref_schema(schema)  # so that every use of the class in a schema renames
        own["schema"] = core_schema.no_info_before_validator_function(cls._with_current_keys, own["schema"])
        return schema

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
