"""The verb `diversity`: what the gradients of a set of rows say about the set."""
