"""Durations in words."""


def rough_duration(seconds: float) -> str:
    """Returns a duration in its largest units, such as of a wait.

    Example:
        >>> [rough_duration(seconds) for seconds in (7, 3 * 60, 86_400, 50 * 3600)]
        ['7 s', '3 min', '24 h', '2 d 2 h']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 48 else f"{hours // 24} d {hours % 24} h"
