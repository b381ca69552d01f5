"""How shards of examples are worked through: in this process, or by the workers of a Ray cluster."""
