"""Runs and selections on the hub of Hugging Face, as data sets."""
