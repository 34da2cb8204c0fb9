"""Dataclasses that round-trip through JSON, with validation and support for renamed keys."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bc_sam.errors import ConfigError
from bc_sam.utils.atomic import written_aside

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

logger = logging.getLogger(__name__)

_MAX_BYTES = 64 * 2**20


class JsonConfig:
    """Base class of configuration dataclasses, which reject unknown keys and wrong types.

    Attributes:
        renamed_keys: Maps the former name of each renamed field to its current name. Former names are accepted at any
            nesting depth; only current names are written.
        absent_values: Values of fields that a file lacks, where a file older than the field means another value than
            the field's default.

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
    absent_values: ClassVar[Mapping[str, Any]] = {}

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON-serializable data that `from_dict` turns into an equal instance."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, data: Any, *, where: str = "the configuration") -> Self:
        """Builds an instance from plain data and validates all fields, including nested ones.

        Args:
            data: Parsed JSON.
            where: File or option that the data comes from, for error messages.

        Raises:
            ConfigError: If a field is unknown, missing, of the wrong type or out of range, or given under both its
                current and its former name.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(data)
        except ConfigError as error:  # from `__post_init__`, which does not know the file
            raise ConfigError(f"{where}: {error}") from None
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())
            message = f"{where} is not a valid {cls.__name__}: {problems}. Correct or remove these fields."
            raise ConfigError(message) from None

    def updated(self, changes: Mapping[str, Any], *, where: str = "the configuration") -> Self:
        """Returns a copy with some fields changed, validated like `from_dict`.

        Args:
            changes: New values by current or former field name. For a nested configuration, a mapping with only the
                fields to change is sufficient.
            where: File or option that the changes come from, for error messages.

        Raises:
            ConfigError: See `from_dict`.

        Example:
            >>> from dataclasses import dataclass, field
            >>> @dataclass(frozen=True)
            ... class Size(JsonConfig):
            ...     width: int = 3
            ...     height: int = 4
            >>> @dataclass(frozen=True)
            ... class Image(JsonConfig):
            ...     size: Size = field(default_factory=Size)
            >>> Image().updated({"size": {"width": 5}})
            Image(size=Size(width=5, height=4))
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
        """Replaces former keys with current ones; returns anything other than a mapping unchanged."""
        if not isinstance(data, Mapping):
            return data
        for former, current in cls.renamed_keys.items():
            if former in data and current in data:
                raise ConfigError(f"{former} was renamed to {current}, but both are given. Remove {former}.")
        return {cls.renamed_keys.get(key, key): value for key, value in data.items()}

    @classmethod
    def _from_older_version(cls, data: Any) -> Any:
        """Converts data of an older version to that of this one; returns anything other than a mapping unchanged."""
        data = cls._with_current_keys(data)
        return {**cls.absent_values, **data} if isinstance(data, Mapping) else data

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        from pydantic_core import core_schema

        schema = handler(source)
        own: Any = handler.resolve_ref_schema(schema)  # resolved, so that nested uses of the class rename too
        own["schema"] = core_schema.no_info_before_validator_function(cls._from_older_version, own["schema"])
        return schema

    def save(self, path: Path | str) -> None:
        """Writes the instance as JSON, replacing an older file only once the new one is complete."""
        with written_aside(path) as unfinished:
            unfinished.write_text(json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads an instance from a JSON file.

        Raises:
            ConfigError: If the file is missing, is not JSON, or fails validation.
        """
        return cls.from_dict(read_json(path), where=str(path))

    @classmethod
    def load_intact(cls, path: Path | str) -> Self | None:
        """Reads a file that can be made again; returns ``None`` if it is missing or damaged, which is logged."""
        if not Path(path).exists():
            return None
        try:
            return cls.load(path)
        except ConfigError as error:
            logger.warning("%s It is made again.", error)
            return None


def read_json(path: Path | str) -> Any:
    """Reads a JSON file of at most 64 MiB; the file may be untrusted.

    Raises:
        ConfigError: If the file is missing, not JSON, too large or too deeply nested.
    """
    if (path := Path(path)).exists() and not path.is_file():  # a pipe would be waited for without end
        raise ConfigError(f"{path} is a folder or a device, not a file. Give a JSON file.")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)  # the reported file size is not reliable for devices
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"{path} has more than {_MAX_BYTES} bytes, the limit for JSON files. Do not use it.")
        return json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}.") from error
