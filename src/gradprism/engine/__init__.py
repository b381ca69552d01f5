"""Engines, which process shards of examples: in this process, or on the workers of a Ray cluster."""
