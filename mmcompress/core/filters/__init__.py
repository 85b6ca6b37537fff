"""Methods of the second family: filters that are made of fewer parameters."""
