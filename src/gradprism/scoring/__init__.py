"""The verb `score`: examples in, the scores of quality metrics out, beside the spectra of a run."""
