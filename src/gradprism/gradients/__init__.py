"""The prism: a batch -> factors of each projection's gradient -> singular values, measures, similarities."""
