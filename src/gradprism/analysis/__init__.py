"""What is said about runs: groups of examples side by side, length controlled. Never loads a model."""
