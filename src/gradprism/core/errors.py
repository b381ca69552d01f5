"""The one exception type of the package, and a kind of it that a machine causes."""


class GradPrismError(Exception):
    """What was given, what was expected, and what to do.

    The command line prints the message alone and exits with status 2. In Python it is the only exception
    that bad input raises.
    """


class DeviceError(GradPrismError):
    """A device stopped working: no row's fault, and another device may do the same work."""
