"""A reward model: the encoder of conversations, and the classifier that scores them."""
