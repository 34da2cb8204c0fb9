"""The package's own exceptions. Every message says what went wrong, where, and what to do about it."""


class BCSamError(Exception):
    """Base of every error that `bc_sam` raises on purpose; catch it to catch them all."""


class ConfigError(BCSamError):
    """A configuration or an argument has an unknown name, a wrong type or an impossible value."""


class ImageError(BCSamError):
    """A file or object cannot be read as an image; the message names it."""


class DataError(BCSamError):
    """A data set cannot be used: unknown folder or label, nothing found, columns missing."""


class WeightsError(BCSamError):
    """Weights are missing, misshapen, left at their initial value, or of a format that cannot be read safely."""


class HubError(BCSamError):
    """The Hub refused, cannot be reached, or has no such repository or revision."""


class UntrustedFileError(BCSamError):
    """A file would have to run code, or build a type that is not on the allow-list, to be loaded."""
