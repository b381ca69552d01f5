"""Measure gradient spectra from inside a training, by a callback of transformers' and TRL's trainers."""
