"""The command `gradprism`: finds its verbs, and replays recipes."""

from gradprism.cli.app import main

__all__ = ["main"]
