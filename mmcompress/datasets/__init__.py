"""Data sets that are embedded in the installation: no download, nothing written.

Classification has a data set of its own. Detection, segmentation and pose use their libraries' own
data sets, which read ``digits://``, see :mod:`mmcompress.datasets.files`.
"""

from .classification import DigitsClassification
from .files import DigitsBackend

__all__ = ['DigitsBackend', 'DigitsClassification']
