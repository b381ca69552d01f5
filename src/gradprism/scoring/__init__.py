"""The verb `score`: scores examples by quality metrics, into a run."""
