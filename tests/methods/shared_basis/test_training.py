"""Shared basis trained beside a network that is written down here as the authors have it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope

WIDTHS, BLOCKS, STEPS = (8, 16), 3, 40
METHODS = Path(__file__).resolve().parents[3] / 'configs/_base_/methods'


class Block(nn.Module):
    """A basic block: two 3x3 convolutions with norms, and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity()
        if channels != width:
            self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (out + self.shortcut(x)).relu()


@MODELS.register_module(force=True)
class TwoStages(BaseModel):
    """A stem, two stages of three blocks and a linear head."""

    def __init__(self, data_preprocessor=None, init_cfg=None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = nn.Module()
        self.backbone.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        channels = WIDTHS[0]
        for index, width in enumerate(WIDTHS):
            strides = [1 + (index > 0)] + [1] * (BLOCKS - 1)
            stage = nn.Sequential()
            for stride in strides:
                stage.append(Block(channels, width, stride))
                channels = width
            self.backbone.add_module(f'layer{index + 1}', stage)
        self.head = nn.Linear(channels, 4)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x = self.backbone.layer2(self.backbone.layer1(self.backbone.conv1(inputs)))
        logits = self.head(x.mean(dim=(2, 3)))
        if mode == 'loss':
            return dict(loss=functional.cross_entropy(logits, data_samples))
        return logits


class LiteralBlock(nn.Module):
    """Its convolutions as basis, norm and coefficients; maps are ``[unique; shared]``."""

    def __init__(self, width: int, shared: list[nn.Conv2d], unique_rank: int) -> None:
        super().__init__()
        self.shared = shared
        total = unique_rank + shared[0].out_channels
        for index in (1, 2):
            unique = nn.Conv2d(width, unique_rank, 3, padding=1, bias=False)
            self.add_module(f'basis_conv{index}', unique)
            self.add_module(f'basis_bn{index}', nn.BatchNorm2d(total))
            self.add_module(f'coeff_conv{index}', nn.Conv2d(total, width, 1, bias=False))
            self.add_module(f'bn{index}', nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.cat([self.basis_conv1(x), self.shared[0](x)], 1)
        out = self.bn1(self.coeff_conv1(self.basis_bn1(out))).relu()
        out = torch.cat([self.basis_conv2(out), self.shared[1](out)], 1)
        out = self.bn2(self.coeff_conv2(self.basis_bn2(out)))
        return (out + x).relu()


class Literal(nn.Module):
    """The same network, all blocks but the first of a stage with shared filters."""

    def __init__(self, shared_rank: int, unique_rank: int, double: bool) -> None:
        super().__init__()
        dense = TwoStages()
        self.conv1, self.head = dense.backbone.conv1, dense.head
        self.bases = nn.ModuleList()
        self.stages = nn.ModuleList()
        for index, width in enumerate(WIDTHS):
            ranks = shared_rank * 2**index, unique_rank * 2**index
            convs = [
                nn.Conv2d(width, ranks[0], 3, padding=1, bias=False) for _ in range(1 + double)
            ]
            self.bases.append(nn.ModuleList(convs))
            blocks = [getattr(dense.backbone, f'layer{index + 1}')[0]]
            shared = [convs[0], convs[-1]]
            blocks += [LiteralBlock(width, shared, ranks[1]) for _ in range(1, BLOCKS)]
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean(dim=(2, 3)))

    def similarity(self, unique: bool) -> Tensor:
        """All bases of a stage and, where asked for, all its unique filters as rows of one B."""
        total, count = torch.zeros(()).double(), 0
        for bases, stage in zip(self.bases, self.stages, strict=True):
            rows = [row.flatten() for conv in bases for row in conv.weight]
            layer_of = [None] * len(rows)
            for index, block in enumerate(stage[1:] if unique else []):
                for part in (1, 2):
                    weight = getattr(block, f'basis_conv{part}').weight
                    rows += [row.flatten() for row in weight]
                    layer_of += [(index, part)] * len(weight)
            for i, row in enumerate(rows):
                for j, other in enumerate(rows):
                    if layer_of[i] is None or layer_of[i] == layer_of[j]:
                        total = total + ((row * other).sum() - float(i == j)) ** 2
                        count += 1
        return total / count


def build(shared_rank: int, unique_rank: int, double: bool, unique: bool):
    units = {
        f'backbone.layer{i + 1}*': dict(
            init_args=dict(shared_rank=shared_rank * 2**i, unique_rank=unique_rank * 2**i)
        )
        for i in range(2)
    }
    return MODELS.build(
        dict(
            type='mmcompress.SharedBasis',
            architecture=dict(type='mmengine.TwoStages'),
            mutator_cfg=dict(
                type='SharedBasisMutator',
                parse_cfg=dict(
                    rule='stage', skip_first_block=True, by_position=double, min_channels=8
                ),
                filter_unit_cfg=dict(default_args=dict(norm_cfg=dict(type='BN')), units=units),
            ),
            orthogonality=10.0,
            orthogonality_terms=dict(unique=unique, joint=double),
        )
    ).double()


def copy_into(literal: Literal, algorithm) -> None:
    """Our weights, with the maps in the other order."""
    ours = algorithm.architecture
    literal.conv1.load_state_dict(ours.backbone.conv1.state_dict())
    literal.head.load_state_dict(ours.head.state_dict())
    for index, stage in enumerate(literal.stages):
        blocks = getattr(ours.backbone, f'layer{index + 1}')
        stage[0].load_state_dict(blocks[0].state_dict())
        for block, other in zip(stage[1:], blocks[1:], strict=True):
            for part in (1, 2):
                op = getattr(other, f'conv{part}')
                rank = len(op.owner.shared_basis)
                getattr(block, f'basis_conv{part}').weight.data.copy_(op.unique_basis)
                combine = getattr(block, f'coeff_conv{part}').weight.data
                combine.copy_(torch.cat([op.coefficients[:, rank:], op.coefficients[:, :rank]], 1))
                block.shared[part - 1].weight.data.copy_(op.owner.shared_basis)


@pytest.mark.slow
@pytest.mark.parametrize('unique', [True, False], ids=['CIFAR-10', 'ImageNet'])
@pytest.mark.parametrize('double', [False, True], ids=['Single', 'Double'])
def test_forty_steps_of_training(double: bool, unique: bool) -> None:
    """The same losses, the weights of the last step too, in float64."""
    torch.manual_seed(0)
    algorithm = build(4, 1, double, unique).train()
    literal = Literal(4, 1, double).double().train()
    copy_into(literal, algorithm)
    assert sum(p.numel() for p in literal.parameters()) == sum(
        p.numel() for p in algorithm.parameters()
    )
    settings = dict(lr=0.1, momentum=0.9, weight_decay=5e-4)
    optimizers = [torch.optim.SGD(m.parameters(), **settings) for m in (algorithm, literal)]
    seen = []
    for _ in range(STEPS):
        images, classes = torch.randn(8, 3, 8, 8).double(), torch.randint(4, (8,))
        parts = algorithm.loss(images, classes)
        theirs = functional.cross_entropy(literal(images), classes)
        similarity = literal.similarity(unique)
        assert float((parts['loss'] - theirs).detach()) == pytest.approx(0, abs=1e-9)
        own = parts['loss_orthogonality']
        assert float(own.detach()) == pytest.approx(float(10 * similarity.detach()), abs=1e-9)
        seen.append(float(own.detach()))
        for optimizer, loss in zip(
            optimizers, (sum(parts.values()), theirs + 10 * similarity), strict=True
        ):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    # Something happened on the way: filters were pulled to unit norm, or pushed off it.
    assert (seen[0] < 1e-10) == (not unique)
    assert max(seen) > 1e-4
    end = build(4, 1, double, unique)
    end.load_state_dict(algorithm.state_dict())
    again = Literal(4, 1, double).double()
    copy_into(again, end)
    for ours, found in zip(again.parameters(), literal.parameters(), strict=True):
        if ours.dim() > 1:
            torch.testing.assert_close(ours, found, rtol=0, atol=1e-9)


# Fine-tuning


@pytest.mark.parametrize('depth', [18, 50])
def test_fine_tuning_starts_with_a_small_loss(depth: int) -> None:
    """From a dense network, filters are orthonormal: the loss is that of the network."""
    compression = Config.fromfile(METHODS / f'shared_basis_r{depth}.py').compression
    architecture = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.ResNet', depth=depth, stem_channels=32, base_channels=32),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=4,
            in_channels=256 if depth == 18 else 1024,
        ),
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dense = MODELS.build(architecture)
        algorithm = MODELS.build(dict(compression, architecture=architecture))
    algorithm.architecture.load_state_dict(dense.state_dict(), strict=False)
    losses = algorithm.own_losses()
    assert list(losses) == ['loss_orthogonality']
    assert float(losses['loss_orthogonality'].detach()) < 1e-6


@pytest.mark.parametrize('path', sorted(METHODS.glob('shared_basis_*.py')), ids=lambda p: p.stem)
def test_method_files_count_shared_filters_only(path: Path) -> None:
    compression = Config.fromfile(path).compression
    assert compression.orthogonality_terms.unique is False
    assert compression.orthogonality == 10.0
