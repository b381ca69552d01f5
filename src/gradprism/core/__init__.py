"""What every folder may use: errors, settings, progress, numbers and tables as people read them."""
