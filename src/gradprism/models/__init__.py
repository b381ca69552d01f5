"""Checkpoints of every kind, and the projections found in them."""
