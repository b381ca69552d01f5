"""Files and hub data sets -> `Example` -> token ids with a loss mask."""
