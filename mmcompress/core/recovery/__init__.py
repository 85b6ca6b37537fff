"""Repair of a network right after compression, from a few unlabelled images."""
