"""Networks of the filter basis recipes against the authors' formulas, written out in float64.

Every network is one function of a dict of parameters, slow and literal: channels are split and
concatenated, norms are means and variances, slopes are a choice between two products.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmcompress.cli.launch import build_algorithm, read_config
from mmcompress.core.base.algorithm import CompressionAlgorithm
from mmcompress.core.export.export import export
from mmcompress.core.export.sessions import session
from mmcompress.core.filters.basis_op import FACTORED
from mmcompress.methods.filter_basis.op import FilterBasisConv2d

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/pruning'
Params = dict[str, Tensor]
Literal = Callable[[Params, Tensor], Tensor]

# The formulas


def norm(p: Params, name: str, x: Tensor) -> Tensor:
    """A batch norm in training."""
    dims = (0, 2, 3)
    mean = x.mean(dims, keepdim=True)
    variance = ((x - mean) ** 2).mean(dims, keepdim=True)
    scale, shift = (p[f'{name}.{part}'].view(1, -1, 1, 1) for part in ('weight', 'bias'))
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def conv(p: Params, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """A dense convolution that keeps the size."""
    weight = p[f'{name}.weight']
    return F.conv2d(x, weight, p.get(f'{name}.bias'), stride, weight.shape[-1] // 2)


def prelu(p: Params, name: str, x: Tensor) -> Tensor:
    """A PReLU of one slope."""
    return torch.where(x > 0, x, p[f'{name}.weight'] * x)


def basis_conv(
    p: Params,
    name: str,
    x: Tensor,
    basis: Tensor,
    between: Callable[[Tensor], Tensor] = lambda maps: maps,
    stride: int = 1,
) -> Tensor:
    """Every part of the channels through the basis, side by side; then the coefficients."""
    offset = p.get(f'{name}.basis_bias')
    parts = x.split(basis.shape[1], 1)
    maps = torch.cat([F.conv2d(part, basis, offset, stride, padding=1) for part in parts], 1)
    combine = p[f'{name}.coefficients']
    return F.conv2d(between(maps), combine, p.get(f'{name}.bias'), padding=combine.shape[-1] // 2)


def normed(p: Params, name: str) -> Callable[[Tensor], Tensor]:
    """Norm and ReLU between basis and coefficients."""
    return lambda maps: norm(p, f'{name}.norm', maps).clamp_min(0)


def averaged(x: Tensor) -> Tensor:
    """The mean of every 2x2 pixels."""
    rows = x[:, :, ::2] + x[:, :, 1::2]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def classified(p: Params, x: Tensor) -> Tensor:
    """The mean over all positions, and a linear layer."""
    return x.mean((2, 3)) @ p['head.fc.weight'].T + p['head.fc.bias']


def resnet(p: Params, x: Tensor, blocks: int) -> Tensor:
    """The first convolution of a stage reads what the stage before puts out, by its basis."""
    name = 'backbone.layer{}.{}'
    owners = ['layer1.0.conv1', 'layer2.0.conv2', 'layer3.0.conv2']
    bases = [p[f'backbone.{owner}.shared_basis'] for owner in owners]
    x = norm(p, 'backbone.bn1', conv(p, 'backbone.conv1', x)).clamp_min(0)
    for stage in range(3):
        for index in range(blocks):
            block, enters = name.format(stage + 1, index), stage > 0 and index == 0
            first = bases[stage - 1] if enters else bases[stage]
            out = basis_conv(p, f'{block}.conv1', x, first, stride=2 if enters else 1)
            out = norm(p, f'{block}.bn1', out).clamp_min(0)
            out = norm(p, f'{block}.bn2', basis_conv(p, f'{block}.conv2', out, bases[stage]))
            if enters:
                c = x.shape[1] // 2
                x = F.pad(averaged(x), (0, 0, 0, 0, c, c))
            x = (out + x).clamp_min(0)
    return classified(p, x)


def densenet(p: Params, x: Tensor, layers: int) -> Tensor:
    """Every layer uses as many channels of the one basis as it has."""
    basis = p['backbone.layer1.0.body.conv1.shared_basis']
    x = conv(p, 'backbone.conv1', x)
    for block in (1, 2, 3):
        for index in range(layers):
            body = f'backbone.layer{block}.{index}.body'
            seen = norm(p, f'{body}.bn1', x).clamp_min(0)
            part = basis[:, : seen.shape[1]]
            name = f'{body}.conv1'
            x = torch.cat([x, basis_conv(p, name, seen, part, normed(p, name))], 1)
        if block < 3:
            name = f'backbone.transition{block}'
            few = conv(p, f'{name}.conv1', norm(p, f'{name}.bn', x).clamp_min(0))
            x = averaged(conv(p, f'{name}.conv2', few) + x)
    return classified(p, norm(p, 'backbone.bn', x).clamp_min(0))


def vgg(p: Params, x: Tensor) -> Tensor:
    """Three dense convolutions, then bases of 128 filters; a max pool ends every stage."""
    for stage, count in enumerate((2, 2, 3, 3, 3), 1):
        for index in range(1, count + 1):
            name = f'backbone.stage{stage}.conv{index}'
            if f'{name}.weight' in p:
                x = conv(p, name, x)
            else:
                x = basis_conv(p, name, x, p[f'{name}.shared_basis'], normed(p, name))
            x = norm(p, f'backbone.stage{stage}.bn{index}', x).clamp_min(0)
        x = F.max_pool2d(x, 2)
    return classified(p, x)


def srresnet(p: Params, x: Tensor, blocks: int) -> Tensor:
    """One slope for all activations but those of the upsampler."""
    act = functools.partial(prelu, p, 'backbone.act')
    x = act(conv(p, 'backbone.head', x))
    shortcut = x
    for index in range(blocks):
        out = x
        for i in (1, 2):
            name = f'backbone.blocks.{index}.conv{i}'
            between = lambda maps, name=name: act(norm(p, f'{name}.norm', maps))  # noqa: E731
            out = basis_conv(p, name, out, p[f'{name}.shared_basis'], between)
            out = act(norm(p, f'backbone.blocks.{index}.bn{i}', out))
        x = x + out
    x = shortcut + norm(p, 'backbone.fuse_bn', conv(p, 'backbone.fuse', x))
    for step in (1, 2):
        x = F.pixel_shuffle(conv(p, f'backbone.upsample.conv{step}', x), 2)
        x = prelu(p, f'backbone.upsample.act{step}', x)
    return conv(p, 'backbone.tail', x)


# The recipes

FOLDER = 'mmcls/filter_basis'
SRRESNET = 'mmsr/filter_basis/filter_basis_{}_srresnet_x4_300e_div2k'
#: Whole networks: literal, and height and width of images.
WHOLE: dict[str, tuple[Literal, int]] = {
    f'{FOLDER}/filter_basis_resnet56_400e_cifar10': (functools.partial(resnet, blocks=9), 32),
    f'{FOLDER}/filter_basis_densenet40_400e_cifar10': (functools.partial(densenet, layers=12), 16),
    f'{FOLDER}/filter_basis_k1_densenet40_400e_cifar10': (
        functools.partial(densenet, layers=12), 16,
    ),
    f'{FOLDER}/filter_basis_vgg16_300e_cifar10': (vgg, 32),
    f'{FOLDER}/filter_basis_bias_vgg16_300e_cifar10': (vgg, 32),
    SRRESNET.format('s64-b14'): (functools.partial(srresnet, blocks=16), 8),
    SRRESNET.format('s32-b32'): (functools.partial(srresnet, blocks=16), 8),
}  # fmt: skip
#: Small ones: what to change, literal, images, learning rate.
SMALL: dict[str, tuple[dict[str, Any], Literal, int, float]] = {
    f'{FOLDER}/filter_basis_resnet56_400e_cifar10': (
        {'backbone.depth': 14}, functools.partial(resnet, blocks=2), 8, 0.1,
    ),
    f'{FOLDER}/filter_basis_densenet40_400e_cifar10': (
        {'backbone.depths': (2, 2, 2), 'head.in_channels': 96},
        functools.partial(densenet, layers=2), 8, 0.1,
    ),
    SRRESNET.format('s64-b14'): (
        {'backbone.num_blocks': 2}, functools.partial(srresnet, blocks=2), 4, 0.05,
    ),
}  # fmt: skip


def recipe(name: str, changes: dict[str, Any] | None = None) -> CompressionAlgorithm:
    """The algorithm of a recipe in float64, no parameter at what it starts from."""
    cfg = read_config(str(CONFIGS / f'{name}.py'))
    changes = {f'model.architecture.{key}': value for key, value in (changes or {}).items()}
    cfg.merge_from_dict(changes)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        algorithm = build_algorithm(cfg).double().train()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in algorithm.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
        if 'srresnet' in name:
            algorithm.architecture.backbone.act.weight.fill_(0.1)
    return algorithm


def params_of(algorithm: CompressionAlgorithm) -> Params:
    named = algorithm.architecture.named_parameters()
    return {name: p.detach().clone().requires_grad_() for name, p in named}


@pytest.mark.parametrize('name', WHOLE)
def test_outputs_and_gradients(name: str) -> None:
    """Of the whole published network, of the images and of all parameters."""
    literal, side = WHOLE[name]
    algorithm = recipe(name)
    params = params_of(algorithm)
    x = torch.randn(2, 3, side, side, dtype=torch.double)
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    out, expected = algorithm.architecture(ours), literal(params, theirs)
    scale = expected.abs().max()
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-9 * scale.item())
    upstream = torch.randn_like(out)
    own = dict(algorithm.architecture.named_parameters())
    assert list(own) == list(params)
    found = torch.autograd.grad(out, [ours, *own.values()], upstream)
    wanted = torch.autograd.grad(expected, [theirs, *params.values()], upstream)
    for key, one, other in zip(['x', *own], found, wanted, strict=True):
        largest = max(other.abs().max().item(), 1e-3)
        assert (one - other).abs().max().item() < 1e-9 * largest, key


@pytest.mark.parametrize('name', SMALL)
def test_forty_steps_of_training(name: str) -> None:
    """SGD with momentum and weight decay: all losses, and all parameters at the end."""
    changes, literal, side, lr = SMALL[name]
    algorithm = recipe(name, changes)
    params = params_of(algorithm)
    optimizer = torch.optim.SGD(algorithm.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    speed = {key: torch.zeros_like(value) for key, value in params.items()}
    images = torch.randn(8, 3, side, side, dtype=torch.double)
    labels = torch.arange(8)
    target = torch.rand(8, 3, 4 * side, 4 * side, dtype=torch.double)

    def loss(out: Tensor) -> Tensor:
        return F.cross_entropy(out, labels) if out.ndim == 2 else (out - target).abs().mean()

    losses = []
    for _ in range(40):
        own, other = loss(algorithm.architecture(images)), loss(literal(params, images))
        losses.append(own.item())
        assert own.item() == pytest.approx(other.item(), rel=1e-9)
        optimizer.zero_grad()
        own.backward()
        optimizer.step()
        gradients = torch.autograd.grad(other, list(params.values()))
        with torch.no_grad():
            for (key, value), gradient in zip(params.items(), gradients, strict=True):
                speed[key] = 0.9 * speed[key] + gradient + 1e-4 * value
                value -= lr * speed[key]
    assert losses[-1] < 0.9 * losses[0]
    for key, parameter in algorithm.architecture.named_parameters():
        torch.testing.assert_close(parameter, params[key], rtol=1e-9, atol=1e-9, msg=key)


@pytest.mark.parametrize('groups', [1, 6])
@pytest.mark.parametrize('kernel', [1, 3])
def test_sizes_of_densenet(kernel: int, groups: int) -> None:
    """With transitions of all channels, or of a sixth of them, between their convolutions."""
    name = f'{FOLDER}/filter_basis_{"k1_" if kernel == 1 else ""}densenet40_400e_cifar10'
    compact = recipe(name, {'backbone.transition_reduction': groups}).counted()
    counts = {(1, 6): 229522, (3, 6): 353938, (1, 1): 438802, (3, 1): 563218}
    assert sum(p.numel() for p in compact.parameters()) == counts[kernel, groups]


# Start

#: What bases and coefficients start from: the share ``variance * fan in``, uniform or not.
STARTS = {
    f'{FOLDER}/filter_basis_resnet56_400e_cifar10': ('uniform', 'fan_in'),
    f'{FOLDER}/filter_basis_densenet40_400e_cifar10': ('uniform', 'fan_in'),
    f'{FOLDER}/filter_basis_vgg16_300e_cifar10': ('uniform', 'fan_out'),
    'mmsr/filter_basis/filter_basis_s128-b27_edsr8_x4_300e_div2k': ('uniform', 'uniform'),
    SRRESNET.format('s64-b14'): ('uniform', 'torch'),
}


def deviation(weight: Tensor, start: str) -> float:
    """Of the numbers that a weight starts from."""
    fan_in = weight[0].numel()
    fan_out = weight.numel() // weight.shape[1]
    variance = dict(uniform=2 / fan_in, fan_in=2 / fan_in, fan_out=2 / fan_out)
    return dict(variance, torch=1 / (3 * fan_in))[start] ** 0.5


@pytest.mark.parametrize('name', STARTS)
def test_start(name: str) -> None:
    """As the authors' programs start; normal numbers have tails, uniform ones have none."""
    algorithm = recipe(name)
    ops = [m for m in algorithm.modules() if isinstance(m, FilterBasisConv2d)]
    bases = [op.shared_basis for op in ops if op.owner is op]
    both = (bases, [op.coefficients for op in ops])
    for weights, start in zip(both, STARTS[name], strict=True):
        units = torch.cat([(w / deviation(w, start)).flatten() for w in weights]).detach()
        assert units.mean().abs().item() < 0.02
        assert units.std().item() == pytest.approx(1, abs=0.02)
        bounded = start in ('uniform', 'torch')
        assert (units.abs().max().item() <= 3**0.5 * (1 + 1e-6)) == bounded
    if 'resnet56' in name:
        assert [round(b.std().item(), 2) for b in bases] == [0.12, 0.08, 0.06]


# Export


@pytest.mark.parametrize('name', SMALL)
def test_export(name: str, tmp_path: Path) -> None:
    """Exact, as ONNX too; the slope that is shared is that of training."""
    changes, _, side, _ = SMALL[name]
    cfg = read_config(str(CONFIGS / f'{name}.py'))
    cfg.merge_from_dict({f'model.architecture.{key}': value for key, value in changes.items()})
    algorithm = recipe(name, changes)
    x = torch.randn(4, 3, side, side, dtype=torch.double)
    with torch.no_grad():
        algorithm.architecture(x)  # statistics of norms
    state = algorithm.state_dict()
    assert not any('conv1.act' in key or 'conv2.act' in key for key in state)
    fresh = recipe(name, changes)
    fresh.load_state_dict(state)
    algorithm.float().eval()
    fresh.float().eval()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        written = export(fresh, cfg, tmp_path / 'out', onnx_shape=(3, side, side))
    assert written['max_difference'] < 1e-5
    with torch.no_grad():
        expected = algorithm.architecture(x.float())
    found = torch.from_numpy(session(tmp_path / 'out/compact.onnx', threads=1)(x.float())[0])
    scale = max(1.0, float(expected.abs().max()))
    assert float((found - expected).abs().max()) < 1e-5 * scale


def test_larger_coefficients_stay_factored() -> None:
    """Neighbours of the border see zeros between the two convolutions, which no kernel does."""
    op = FilterBasisConv2d(nn.Conv2d(8, 6, 3, padding=1), 24, 4, coefficient_kernel=3).double()
    assert not op.is_linear
    assert op.forms == (FACTORED,)
    assert op.cost(FACTORED) == 2 * 24 * 4 * 9 + 6 * 2 * 24 * 9
    assert not op.merges((64, 8, 99, 99))
    x = torch.randn(2, 8, 7, 9, dtype=torch.double)
    torch.testing.assert_close(op.to_static()(x), op(x), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match='3x3 coefficients'):
        op.filters()
