"""The exception type of the package, its subtype for failing hardware, and the first line of any error."""


class GradPrismError(Exception):
    """An error of use or of input; its message says what was given, what was expected, and what to do.

    The command line prints the message alone and exits with status 2. In Python it is the only exception
    that bad input raises.
    """


class DeviceError(GradPrismError):
    """A device that stopped working. No row caused it, and another device may do the same work."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; the name of its type where the message is empty."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
