"""Files on a disk or in an object store: where they are, written whole, one writer at a time."""
