"""Data sets that are embedded in the installation: no download, nothing written."""

from .classification import DigitsClassification

__all__ = ['DigitsClassification']
