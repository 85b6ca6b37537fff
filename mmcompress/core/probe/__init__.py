"""A model's own forward pass on a demo batch: what it does, to which shapes."""
