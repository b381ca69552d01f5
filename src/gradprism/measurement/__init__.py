"""The verb `spectra`: measures data on a model, into a run of gradient spectra."""
