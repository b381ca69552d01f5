"""Whole studies: many sets, models and contrasts from one recipe, and what they say of each claim."""
