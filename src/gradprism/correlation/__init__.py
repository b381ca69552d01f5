"""The verb `correlate`: metrics and measures of a run with each other."""
