"""The projections of a model: found by structure and naming, or by a user's description of the architecture."""
