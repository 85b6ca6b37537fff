"""Super-resolution: metrics and pictures."""
