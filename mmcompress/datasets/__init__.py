"""Data sets that are embedded in the installation (no download, nothing written), and folders.

Of super-resolution there are photographs and folders of images, in :mod:`mmcompress.datasets.sr`.

Classification of the embedded digits has a data set of its own. Detection, segmentation and pose
use their libraries' own data sets, which read ``digits://``, see :mod:`mmcompress.datasets.files`.
"""

from .classification import DigitsClassification
from .files import DigitsBackend
from .sr import Photos, SRFolders
from .svhn import SVHN

__all__ = ['SVHN', 'DigitsBackend', 'DigitsClassification', 'Photos', 'SRFolders']
