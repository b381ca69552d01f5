"""The verb `compare`: groups of examples side by side, raw and length-controlled."""
