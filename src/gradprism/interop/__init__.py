"""The published gradient statistics of Li et al. (arXiv 2504.10766 and 2410.23743), read and written."""
