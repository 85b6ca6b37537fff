"""Networks that the papers use and OpenMMLab lacks; importing registers them.

All but :mod:`~mmcompress.models.cifar_resnext`, which needs mmpretrain.
"""

from .cifar_all_conv import AllConv
from .cifar_densenet import CIFARDenseNet
from .cifar_googlenet import CIFARGoogLeNet
from .cifar_resnet import CIFARResNet
from .cifar_vgg import CIFARVGG
from .expanded_mobilenet_v2 import ExpandedMobileNetV2
from .pad_shortcut import PadShortcut

__all__ = [
    'CIFARVGG',
    'AllConv',
    'CIFARDenseNet',
    'CIFARGoogLeNet',
    'CIFARResNet',
    'ExpandedMobileNetV2',
    'PadShortcut',
]
