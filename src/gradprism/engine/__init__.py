"""How shards of examples are worked through: one short loop."""
