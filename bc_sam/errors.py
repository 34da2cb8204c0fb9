"""Exceptions of the package. Every message states what is wrong, where, and what to do."""


class BCSamError(Exception):
    """Base class of all exceptions that `bc_sam` raises."""


class ConfigError(BCSamError):
    """A config field or an argument has an unknown name, a wrong type or an invalid value."""


class ImageError(BCSamError):
    """A file or object cannot be read as an image."""


class DataError(BCSamError):
    """A data set cannot be used, for example because a folder, a label or a column is missing or unknown."""


class WeightsError(BCSamError):
    """Weights are missing, misshapen, uninitialized, or in a format that cannot be loaded safely."""


class HubError(BCSamError):
    """The Hub denied the request, is unreachable, or has no such repository or revision."""


class MissingPackageError(BCSamError, ImportError):
    """An optional package is not installed."""


class UntrustedFileError(BCSamError):
    """Loading a file would run code or build a type that is not on the allow-list."""
