"""Networks that the papers use and OpenMMLab lacks; importing registers them."""

from .cifar_googlenet import CIFARGoogLeNet
from .cifar_resnet import CIFARResNet
from .cifar_vgg import CIFARVGG
from .pad_shortcut import PadShortcut

__all__ = ['CIFARVGG', 'CIFARGoogLeNet', 'CIFARResNet', 'PadShortcut']
