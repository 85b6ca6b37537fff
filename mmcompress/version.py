"""The version of mmcompress; ``setup.py`` reads it from here."""

__version__ = '0.1.0'
