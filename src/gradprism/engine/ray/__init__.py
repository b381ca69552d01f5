"""The Ray engine: actors of a cluster hold the model once and take shards."""
