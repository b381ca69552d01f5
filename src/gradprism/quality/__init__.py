"""Quality metrics: what the field already says about an example, on equal terms with the gradient's measures."""
