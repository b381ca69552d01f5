"""The verb `select`: subsets of a run or of data, by any metric."""
