"""The parts that every folder may use: errors, settings, progress, numbers and tables for readers."""
