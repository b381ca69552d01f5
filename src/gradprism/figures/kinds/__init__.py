"""Kinds of figures, one file each; a file declares its kinds as `KINDS`, and the catalogue finds it."""
