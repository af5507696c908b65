"""Short texts for numbers of bytes in lists and reports."""

from __future__ import annotations


def format_bytes(number: float, *, sign: bool = False) -> str:
    """Return the size with a unit: `1.4 GB`."""
    prefix = ("+" if number >= 0 else "-") if sign else ""
    size = abs(number)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{prefix}{size:.0f} {unit}" if unit == "B" else f"{prefix}{size:.1f} {unit}"
        size /= 1000
    return f"{prefix}{size:.1f} TB"
