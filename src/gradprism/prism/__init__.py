"""The prism: a batch in, the singular values of every gradient, their measures and similarities out."""
