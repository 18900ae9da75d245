"""What is wrong with the environment or `.env`, in words."""

from __future__ import annotations


class Misconfigured(ValueError):
    """Variables are missing or wrong; the message has a line for each, without any value."""


def reason(error: Exception) -> str:
    """Why a file cannot be read; it never has what is in the file."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not a text"
    return (
        (error.strerror or type(error).__name__).lower()
        if isinstance(error, OSError)
        else str(error)
    )
