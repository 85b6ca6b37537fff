"""Data of super-resolution: pairs of a true image and a smaller one, from folders or embedded."""

from .bicubic import imresize
from .folders import SRFolders
from .images import BadImageError
from .photos import Photos
from .transforms import PackSRInputs, PairedFlipRotate, PairedRandomCrop

__all__ = [
    'BadImageError',
    'PackSRInputs',
    'PairedFlipRotate',
    'PairedRandomCrop',
    'Photos',
    'SRFolders',
    'imresize',
]
