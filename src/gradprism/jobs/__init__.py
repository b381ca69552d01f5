"""One module a verb: wires data, model, prism, engine and store together."""
