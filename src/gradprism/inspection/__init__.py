"""The verb `inspect`: what is understood of a data set, before anything is measured."""
