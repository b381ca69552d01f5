"""The verb `influence`: compares the gradients of a run with those of target rows, after it was measured."""
