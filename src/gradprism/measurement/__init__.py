"""The verb `spectra`: data and a model in, a run of gradient spectra out."""
