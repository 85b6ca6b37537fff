"""Networks that the papers use and OpenMMLab lacks; importing registers them.

All but :mod:`~mmcompress.models.cifar_resnext`, which needs mmpretrain.
"""

from .bicubic import Bicubic
from .cifar_all_conv import AllConv
from .cifar_densenet import CIFARDenseNet
from .cifar_googlenet import CIFARGoogLeNet
from .cifar_resnet import CIFARResNet
from .cifar_vgg import CIFARVGG
from .edsr import EDSR
from .expanded_mobilenet_v2 import ExpandedMobileNetV2
from .pad_shortcut import PadShortcut
from .sr_data_preprocessor import SRDataPreprocessor
from .srresnet import SRResNet
from .super_resolution import SuperResolver
from .tiling import chop_forward, self_ensemble

__all__ = [
    'CIFARVGG',
    'EDSR',
    'AllConv',
    'Bicubic',
    'CIFARDenseNet',
    'CIFARGoogLeNet',
    'CIFARResNet',
    'ExpandedMobileNetV2',
    'PadShortcut',
    'SRDataPreprocessor',
    'SRResNet',
    'SuperResolver',
    'chop_forward',
    'self_ensemble',
]
