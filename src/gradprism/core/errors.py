"""The exception type of the package, and its subtype for failing hardware."""


class GradPrismError(Exception):
    """An error of use or of input; its message says what was given, what was expected, and what to do.

    The command line prints the message alone and exits with status 2. In Python it is the only exception
    that bad input raises.
    """


class DeviceError(GradPrismError):
    """A device that stopped working. No row caused it, and another device may do the same work."""
