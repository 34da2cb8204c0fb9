"""Recognition of class names by the tables; a similarity of letters alone never counts."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache

from bc_sam.config.labels import LABELS
from bc_sam.data.names.table import (
    ACEVEDO20_CODES,
    CONVENTIONS,
    MATEK19_CODES,
    PROPOSED_LABELS,
    SYNONYMS,
    UNTYPED,
    WITHOUT_CLASS,
)

Words = tuple[str, ...]


def find_label(name: str) -> str | None:
    """Returns the canonical class of a name, or ``None`` if it is unknown or ambiguous.

    Example:
        >>> find_label("Segmented Neutrophils"), find_label("EOS"), find_label("Monozyten"), find_label("neutrophil")
        ('neutrophil_segmented', 'eosinophil', 'monocyte', None)
    """
    return _look_up(name, _synonyms())


def propose_label(name: str) -> str | None:
    """Returns the probable class of an ambiguous name, which a person has to confirm, or ``None``.

    Example:
        >>> propose_label("neutrophils"), propose_label("Blasten"), propose_label("megakaryocyte")
        ('neutrophil_segmented', 'myeloblast', None)
    """
    return _look_up(name, _proposals())


def has_no_class(name: str) -> bool:
    """Whether a name is known to be none of the classes, such as a platelet.

    Example:
        >>> has_no_class("Platelets"), has_no_class("lymphoblasts"), has_no_class("monocyte"), has_no_class("x17")
        (True, True, False, False)
    """
    return _look_up(name, _without_class()) is not None


def is_untyped(name: str) -> bool:
    """Whether a name means a white cell of a kind that is not given.

    Example:
        >>> is_untyped("WBC"), is_untyped("RBC")
        (True, False)
    """
    return _look_up(name, _untyped()) is not None


def is_class_name(name: str) -> bool:
    """Whether a name is in any of the tables, so that it is a class rather than a patient or a folder of images.

    Example:
        >>> is_class_name("neutrophil"), is_class_name("platelet"), is_class_name("patient 7")
        (True, True, False)
    """
    in_convention = any(name.upper() in codes for codes in CONVENTIONS.values())
    return in_convention or any(map(bool, (find_label(name), propose_label(name), has_no_class(name))))


def find_convention(names: Iterable[str]) -> tuple[str, Mapping[str, str | None]] | None:
    """Returns the data set whose codes the names are, with its codes, or ``None``.

    At least one name must be in no other table, since own folders often have the commoner codes, too.

    Example:
        >>> find_convention(["ABE", "EOS", "LYT"])[0], find_convention(["EOS", "LYT", "MON"])
        ('the bone-marrow set of 21 codes', None)
    """
    found = {name.upper() for name in names}
    for title, codes in CONVENTIONS.items():
        specific = codes.keys() - MATEK19_CODES.keys() - ACEVEDO20_CODES.keys()
        if len(found) > 1 and found <= codes.keys() and found & specific:
            return title, codes
    return None


@cache
def words_of(name: str) -> Words:
    """Returns the sorted words of a name, lower case, singular and without accents.

    Example:
        >>> words_of("AtypicalLymphocytes"), words_of("Éosinophiles"), words_of("neutrófilos_en-banda")
        (('atypical', 'lymphocyte'), ('eosinophile',), ('banda', 'en', 'neutrofilo'))
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    plain = "".join(
        sign for sign in unicodedata.normalize("NFKD", apart.casefold()) if not unicodedata.combining(sign)
    )
    words = re.findall(r"[^\W_]+", plain)
    return tuple(sorted(word.removesuffix("s") if len(word) > 3 else word for word in words))


def _look_up(name: str, table: Mapping[Words, str]) -> str | None:
    """Looks a name up as it is, without an abbreviation in brackets, and without numbers and the word cell."""
    short = re.sub(r"[(\[].*?[)\]]", " ", name)
    for words in (words_of(name), words_of(short)):
        bare = tuple(word for word in words if not word.isdecimal() and word != "cell")
        for candidate in (words, bare):
            if candidate in table:
                return table[candidate]
    return None


def _index(names: Mapping[str, Iterable[str]]) -> dict[Words, str]:
    return {words_of(name): label for label, synonyms in names.items() for name in synonyms}


@cache
def _synonyms() -> dict[Words, str]:
    codes = {**MATEK19_CODES, **ACEVEDO20_CODES, **{label: label for label in LABELS}}
    return _index(SYNONYMS) | {words_of(code): label for code, label in codes.items() if label is not None}


@cache
def _proposals() -> dict[Words, str]:
    return _index(PROPOSED_LABELS)


@cache
def _without_class() -> dict[Words, str]:
    return _index({"none": WITHOUT_CLASS})


@cache
def _untyped() -> dict[Words, str]:
    return _index({"untyped": UNTYPED})
