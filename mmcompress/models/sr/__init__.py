"""Super-resolution: networks, and the model around them."""
