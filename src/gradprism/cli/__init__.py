"""The command `gradprism`: its verbs, and the recipes that it replays."""

from gradprism.cli.app import main

__all__ = ["main"]
