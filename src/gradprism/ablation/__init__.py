"""The verb `ablate`: trains a model on each of several selections at equal tokens, and compares it with random rows."""
