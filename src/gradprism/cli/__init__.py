"""The command `gradprism`: its verbs, and the recipes that it replays."""
