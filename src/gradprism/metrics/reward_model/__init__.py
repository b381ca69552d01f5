"""A reward model: how it reads conversations, and the classifier that scores them."""
