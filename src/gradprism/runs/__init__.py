"""The run directory: written in parts that are published by rename, resumed, and read."""
