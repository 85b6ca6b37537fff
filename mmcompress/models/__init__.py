"""Networks that the papers use and OpenMMLab lacks; importing registers them.

All but :mod:`~mmcompress.models.cifar.resnext`, which needs mmpretrain.
"""

from mmcompress.models.cifar.all_conv import AllConv
from mmcompress.models.cifar.densenet import CIFARDenseNet
from mmcompress.models.cifar.expanded_mobilenet_v2 import ExpandedMobileNetV2
from mmcompress.models.cifar.googlenet import CIFARGoogLeNet
from mmcompress.models.cifar.pad_shortcut import PadShortcut
from mmcompress.models.cifar.resnet import CIFARResNet
from mmcompress.models.cifar.vgg import CIFARVGG
from mmcompress.models.decomposed import FactorConv2d, GroupConv2d
from mmcompress.models.sr.bicubic import Bicubic
from mmcompress.models.sr.data_preprocessor import SRDataPreprocessor
from mmcompress.models.sr.edsr import EDSR
from mmcompress.models.sr.srresnet import SRResNet
from mmcompress.models.sr.super_resolution import SuperResolver
from mmcompress.models.sr.tiling import chop_forward, self_ensemble

__all__ = [
    'CIFARVGG',
    'EDSR',
    'AllConv',
    'Bicubic',
    'CIFARDenseNet',
    'CIFARGoogLeNet',
    'CIFARResNet',
    'ExpandedMobileNetV2',
    'FactorConv2d',
    'GroupConv2d',
    'PadShortcut',
    'SRDataPreprocessor',
    'SRResNet',
    'SuperResolver',
    'chop_forward',
    'self_ensemble',
]
