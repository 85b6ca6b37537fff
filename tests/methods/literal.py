"""A CIFAR ResNet in plain torch, for restatements of the authors' programs."""

import torch.nn.functional as F
from torch import nn


class Pad(nn.Module):
    """Every second pixel (or the mean of 2 x 2) and zero channels on both sides."""

    def __init__(self, more, stride, pool=False):
        super().__init__()
        self.more, self.stride, self.pool = more, stride, pool

    def forward(self, x):
        x = F.avg_pool2d(x, self.stride) if self.pool else x[:, :, :: self.stride, :: self.stride]
        front = self.more // 2
        return F.pad(x, (0, 0, 0, 0, front, self.more - front))


def projection(before, width, stride):
    return nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))


class Block(nn.Module):
    def __init__(self, name, conv, before, width, stride, shortcut):
        super().__init__()
        self.conv1 = conv(f'{name}.conv1', before, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(f'{name}.conv2', width, width, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity()
        if before != width:
            self.shortcut = shortcut(before, width, stride)

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (out + self.shortcut(x)).relu()


class ResNet(nn.Module):
    """``conv(name, c, n, stride)`` makes the convolutions of blocks; the stem is a plain one."""

    def __init__(self, conv, blocks, shortcut, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        before = 16
        for stage, width in enumerate((16, 32, 64), start=1):
            layers = nn.Sequential()
            for index in range(blocks):
                stride = 2 if stage > 1 and index == 0 else 1
                name = f'layer{stage}.{index}'
                layers.append(Block(name, conv, before, width, stride, shortcut))
                before = width
            self.add_module(f'layer{stage}', layers)
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3)))


def nothing(*_):
    return 0


def train(
    network,
    optimizer,
    batches,
    epochs,
    extra=nothing,
    before_epoch=nothing,
    before_step=nothing,
    after_step=nothing,
    after_epoch=nothing,
):
    """The loop of all programs; the learning rate is a tenth from the fourth epoch on.

    ``extra()`` is a loss besides the cross entropy. What else a program does is called with the
    number of the epoch, or of the step.

    Returns:
        The losses of all steps.
    """
    rate = optimizer.param_groups[0]['lr']
    losses = []
    for epoch in range(epochs):
        optimizer.param_groups[0]['lr'] = rate if epoch < 3 else rate / 10
        network.train()
        before_epoch(epoch)
        for images, labels in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images), labels) + extra(len(losses))
            loss.backward()
            before_step(len(losses))
            optimizer.step()
            after_step(len(losses))
            losses.append(loss.item())
        after_epoch(epoch)
    return losses


def own_name(name):
    """What mmcompress calls a parameter or buffer, in the tests' network."""
    inside = name if name.split('.')[0] == 'fc' else f'backbone.{name}'
    return f'architecture.{inside}'


def take(module, start):
    """Copy all tensors from a state of ours, by name, in place."""
    for name, tensor in module.state_dict().items():
        tensor.copy_(start[own_name(name)])
