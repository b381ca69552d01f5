"""The one exception type of the package."""


class GradPrismError(Exception):
    """What was given, what was expected, and what to do.

    The command line prints the message alone and exits with status 2. In Python it is the only exception
    that bad input raises.
    """
