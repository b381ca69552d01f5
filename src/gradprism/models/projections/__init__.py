"""The projections of a model: found by structure and naming, or where a user describes them."""
