"""What a person sees in a terminal: progress, summaries, the loss mask in colour."""
