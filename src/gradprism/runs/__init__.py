"""The run directory: written in parts published by rename, resumed, read."""
