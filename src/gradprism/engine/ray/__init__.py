"""The Ray engine: workers (Ray actors) load the model once each and process shards."""
