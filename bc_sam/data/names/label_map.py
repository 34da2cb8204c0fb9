"""The mapping of a source's class names to labels: as given, by the tables, or an error that proposes one."""

import logging
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bc_sam.config.labels import LABELS
from bc_sam.data.names.recognition import find_convention, find_label, has_no_class, propose_label
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)

_SHOWN = 20


class LabelMap(Mapping[str, str | None]):
    """A user's mapping of class names, which remembers the names it was asked for, since one that it has must occur.

    Args:
        labels: Label of each class name, or ``None`` to exclude the class. Case does not count.

    Example:
        >>> given = LabelMap({"Neutro": "neutrophil_segmented"})
        >>> given["neutro"], sorted(given.unused())
        ('neutrophil_segmented', [])
    """

    def __init__(self, labels: Mapping[str, str | None]) -> None:
        self._names = {name.casefold(): name for name in labels}
        self._labels = {name.casefold(): label for name, label in labels.items()}
        self._used: set[str] = set()
        self._occurring: set[str] = set()

    def __getitem__(self, name: str) -> str | None:
        label = self._labels[name.casefold()]
        self._used.add(name.casefold())
        return label

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.values())

    def __len__(self) -> int:
        return len(self._labels)

    @classmethod
    def of(cls, labels: "Mapping[str, str | None] | None") -> "LabelMap":
        """Returns the mapping itself if it is one already, as several data sets share it."""
        return labels if isinstance(labels, LabelMap) else cls(labels or {})

    def require_labels(self, labels: Sequence[str]) -> None:
        """Checks that the mapping leads to existing labels.

        Raises:
            DataError: If one is unknown.
        """
        for key, label in self._labels.items():
            if label is not None and label not in labels:
                name = self._names[key]
                raise DataError(f"label_map maps {name!r} to {label!r}. Choose one of {', '.join(labels)}.")

    def unused(self) -> set[str]:
        """Returns the names that no source has."""
        return {name for key, name in self._names.items() if key not in self._used}

    def note(self, names: Iterable[str]) -> None:
        """Notes class names that a source has, for the error message."""
        self._occurring |= set(names)

    def require_used(self) -> None:
        """Checks that every name occurs.

        Raises:
            DataError: If one does not.
        """
        if unused := sorted(self.unused()):
            occurring = sorted(self._occurring)
            found = f"the classes are {_listed(occurring)}" if occurring else "there are no class names to map"
            raise DataError(
                f"The label map (--map) names {_listed(unused)}, but {found}. Correct or remove that; case is ignored."
            )


def resolve_labels(names: Sequence[str], label_map: Mapping[str, str | None], *, where: str) -> dict[str, str | None]:
    """Maps each class name to its canonical class, or to ``None`` if it is excluded.

    `label_map` takes precedence, then the codes of a public set whose codes the names all are, which is logged, then
    the names that are unambiguous.

    Args:
        names: Names of subfolders, or of the classes of a data set.
        label_map: Mapping that takes precedence; keys are case-insensitive.
        where: Folder or data set, for messages.

    Raises:
        DataError: If a name is unknown or ambiguous, or `label_map` maps to an unknown class. The message lists the
            valid classes and proposes a mapping of the names that the tables have.
    """
    given = LabelMap.of(label_map)
    given.require_labels(LABELS)
    given.note(names)
    labels = {name: given[name] for name in names if name in given}
    others = [name for name in names if name not in labels]
    convention = find_convention(others)
    if convention:
        title, codes = convention
        labels |= {name: codes[name.upper()] for name in others}
        read = ", ".join(f"{name} {labels[name] or 'left out'}" for name in others)
        logger.warning("%s: class names are read as the codes of %s: %s. --map changes them.", where, title, read)
        return {name: labels[name] for name in names}
    labels |= {name: find_label(name) for name in others}
    unknown = [name for name in others if labels[name] is None]
    if unknown:
        leaves_some = any(label is not None for label in labels.values()) or any(map(propose_label, unknown))
        raise DataError(_advice(unknown, where, leaves_some))
    return {name: labels[name] for name in names}


def _advice(unknown: Sequence[str], where: str, leaves_some: bool) -> str:
    """Returns the error message for unknown names. It never proposes to leave everything out."""
    proposal = {name: propose_label(name) for name in unknown if propose_label(name)}
    if leaves_some:
        proposal |= {name: None for name in unknown if name not in proposal and has_no_class(name)}
    message = f"{where} has unknown or ambiguous classes: {_listed(unknown)}. "
    message += f"Rename them to one of {', '.join(LABELS)}, or pass label_map"
    if proposal:
        pairs = " ".join(f"--map {shlex.quote(f'{name}={label or str()}')}" for name, label in proposal.items())
        message += f", for example {proposal}; None excludes a class. On the command line: {pairs}"
    else:
        message += ", on the command line --map NAME=CLASS; an empty CLASS excludes NAME."
    if without := [name for name in unknown if name not in proposal]:
        message += f" Nothing is proposed for {_listed(without)}: name the class, or exclude it."
    return message


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
