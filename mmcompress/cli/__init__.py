"""The command line: what the tools run."""
