"""The contract of every method: algorithm, mutator, units in files, building."""
