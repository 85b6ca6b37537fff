"""Algorithms with filter units: state, loading, optimizers, averaging, precision, two processes."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint

from mmcompress.core import Clock, CompressionError
from mmcompress.core.export.checkpoint import check_belongs

ROOT = Path(__file__).resolve().parents[3]
CONVS = ('conv1', 'conv2', 'conv3')


@MODELS.register_module(force=True)
class BasisNet(BaseModel):
    """A stem, two convolutions of 8 channels and one to 16, in OpenMMLab's form."""

    def __init__(self, num_classes=4, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = nn.Sequential()
        for index, (channels, width) in enumerate([(3, 8), (8, 8), (8, 8), (8, 16)]):
            conv = nn.Conv2d(channels, width, 3, padding=1, bias=index == 2)
            self.backbone.add_module(f'conv{index}', conv)
            self.backbone.add_module(f'bn{index}', nn.BatchNorm2d(width))
            self.backbone.add_module(f'relu{index}', nn.ReLU())
        self.head = nn.Linear(16, num_classes)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if isinstance(inputs, (list, tuple)):
            inputs = torch.stack(list(inputs))
        logits = self.head(self.backbone(inputs).mean(dim=(2, 3)))
        if mode == 'loss':
            target = torch.as_tensor(data_samples)
            return dict(loss=nn.functional.cross_entropy(logits, target))
        return logits if mode == 'tensor' else list(logits)


def filter_basis(architecture=None, settings=None, **kwargs):
    """One basis of 4 channels for three layers."""
    return dict(
        type='mmcompress.FilterBasis',
        architecture=dict(type='mmengine.BasisNet', **(architecture or {})),
        mutator_cfg=dict(
            type='FilterBasisMutator',
            parse_cfg=dict(rule={'all': [f'backbone.{name}' for name in CONVS]}, min_channels=8),
            filter_unit_cfg=dict(
                default_args=dict(settings or {}),
                units=dict(all=dict(init_args=dict(basis_size=4, num_filters=6))),
            ),
        ),
        **kwargs,
    )


def shared_basis(architecture=None, settings=None, **kwargs):
    """Filters shared by two layers, and a third layer with a basis of its own."""
    return dict(
        type='mmcompress.SharedBasis',
        architecture=dict(type='mmengine.BasisNet', **(architecture or {})),
        mutator_cfg=dict(
            type='SharedBasisMutator',
            parse_cfg=dict(
                rule={'pair': ['backbone.conv1', 'backbone.conv2'], 'last': 'backbone.conv3'},
                min_channels=8,
            ),
            filter_unit_cfg=dict(
                default_args=dict(settings or {}),
                units={
                    'pair': dict(init_args=dict(shared_rank=4, unique_rank=2)),
                    'last': dict(init_args=dict(shared_rank=8, unique_rank=0)),
                },
            ),
        ),
        **kwargs,
    )


def linear_conv(architecture=None, settings=None, **kwargs):
    """Sparse combinations in three layers, each by itself."""
    settings = dict(variant='sparse', target_sparsity=0.5, **(settings or {}))
    if kwargs.get('init') == 'svd':
        kwargs['init'] = 'qr'  # its own way to start from dense weights
    return dict(
        type='mmcompress.LinearConv',
        architecture=dict(type='mmengine.BasisNet', **(architecture or {})),
        mutator_cfg=dict(
            type='LinearConvMutator',
            parse_cfg=dict(include=[f'backbone.{name}' for name in CONVS]),
            filter_unit_cfg=dict(default_args=settings),
        ),
        **dict(dict(loss_interval=2, mask_interval=2, threshold_step=0.1), **kwargs),
    )


SHARING = dict(filter_basis=filter_basis, shared_basis=shared_basis)
METHODS = dict(SHARING, linear_conv=linear_conv)
#: The weights of the losses that methods have of their own.
EXTRA = {
    filter_basis: lambda weight: {},
    shared_basis: lambda weight: dict(orthogonality=weight),
    linear_conv: lambda weight: dict(correlation=weight, l1=weight),
}
BN = dict(norm_cfg=dict(type='BN'))


@pytest.fixture(params=METHODS)
def method(request):
    """Config factory of each method."""
    return METHODS[request.param]


@pytest.fixture(params=SHARING)
def sharing(request):
    """Config factory of each method whose layers share tensors."""
    return SHARING[request.param]


@pytest.fixture
def dense(tmp_path):
    """A dense network and the path of its checkpoint."""
    model = MODELS.build(dict(type='mmengine.BasisNet'))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    path = tmp_path / 'dense.pth'
    torch.save(dict(meta={}, state_dict=model.state_dict()), path)
    return model, path


def batches(count=3, size=8):
    generator = torch.Generator().manual_seed(3)
    return [
        dict(
            inputs=torch.randn(size, 3, 8, 8, generator=generator),
            data_samples=[index % 4 for index in range(size)],
        )
        for _ in range(count)
    ]


def wrapper_of(model, lr=0.1):
    return OptimWrapper(torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9))


def train(algorithm, data, lr=0.1):
    wrapper = wrapper_of(algorithm, lr)
    algorithm.start(wrapper)
    for index, batch in enumerate(data):
        algorithm.tick(Clock(0, index, 1, len(data), index == 0))
        log = algorithm.train_step(batch, wrapper)
    return log


def ops_of(algorithm):
    return [algorithm.architecture.get_submodule(f'backbone.{name}') for name in CONVS]


# What is shared


def test_shared_parameters_are_counted_and_saved_once(sharing):
    algorithm = MODELS.build(sharing())
    names = [name for name, _ in algorithm.named_parameters() if 'shared_basis' in name]
    owners = ['conv1'] if sharing is filter_basis else ['conv1', 'conv3']
    assert names == [f'architecture.backbone.{name}.shared_basis' for name in owners]
    assert [key for key in algorithm.state_dict() if 'shared_basis' in key] == names
    parameters = list(algorithm.parameters())
    assert len(parameters) == len({id(parameter) for parameter in parameters})
    # By the formulas: b s k k + sum n g b, and (s + 2 u) c k k + sum n (s + u).
    kept = sum(op.coefficients.numel() for op in ops_of(algorithm))
    kept += sum(p.numel() for name, p in algorithm.named_parameters() if name.endswith('_basis'))
    if sharing is filter_basis:
        assert kept == 6 * 4 * 9 + (8 + 8 + 16) * 2 * 6
    else:
        assert kept == (4 + 2 * 2) * 72 + 2 * 8 * 6 + 8 * 72 + 16 * 8
    assert kept == sum(unit.num_parameters for unit in algorithm.mutator.units.values())


@pytest.mark.parametrize('dtype', [torch.double, torch.half, torch.bfloat16])
def test_moved_together(sharing, dtype):
    algorithm = MODELS.build(sharing()).to(dtype)
    one, two, _ = ops_of(algorithm)
    assert two.owner is one
    assert two.basis().dtype == one.shared_basis.dtype == dtype
    assert {p.dtype for p in algorithm.parameters()} == {dtype}
    assert algorithm.dense_loaded.dtype == torch.bool
    static = copy.deepcopy(two).to_static()
    assert {p.dtype for p in static.parameters()} == {dtype}


def test_deep_copies_share_among_themselves(sharing):
    algorithm = MODELS.build(sharing())
    other = copy.deepcopy(algorithm)
    one, two, _ = ops_of(other)
    assert two.owner is one is not ops_of(algorithm)[0]
    before = two(torch.ones(1, 8, 5, 5))
    original = ops_of(algorithm)[1](torch.ones(1, 8, 5, 5))
    with torch.no_grad():
        one.shared_basis.zero_()
    assert not torch.equal(two(torch.ones(1, 8, 5, 5)), before)
    assert torch.equal(ops_of(algorithm)[1](torch.ones(1, 8, 5, 5)), original)
    # Units are those of the copy as well: a dense checkpoint fits its ops alone.
    (unit, *_) = other.mutator.units.values()
    assert unit.ops['backbone.conv2'] is two


@pytest.mark.parametrize('method', [filter_basis, shared_basis])
def test_copies_of_what_layers_share(method):
    """Tied weights that come apart in a checkpoint are refused, equal ones are not."""
    algorithm = MODELS.build(method())
    state = {key: torch.randn_like(v) if v.is_floating_point() else v
             for key, v in algorithm.state_dict().items()}  # fmt: skip
    key = 'architecture.backbone.{}.shared_basis'
    state[key.format('conv2')] = state[key.format('conv1')].clone()
    algorithm.load_state_dict(state)
    assert torch.equal(algorithm.state_dict()[key.format('conv1')], state[key.format('conv1')])
    state[key.format('conv2')] = state[key.format('conv2')] + 1
    with pytest.raises(CompressionError, match=r'conv2\.shared_basis in the checkpoint differs'):
        algorithm.load_state_dict(state)


def test_a_copy_is_fitted_without_touching_the_original(method, dense):
    algorithm = MODELS.build(method(init='svd'))
    before = {key: value.clone() for key, value in algorithm.state_dict().items()}
    other = copy.deepcopy(algorithm)
    other.load_state_dict(dense[0].state_dict(), strict=False)
    assert all(unit.error is not None for unit in other.mutator.units.values())
    assert all(unit.error is None for unit in algorithm.mutator.units.values())
    for key, value in algorithm.state_dict().items():
        assert torch.equal(value, before[key]), key
    changed = [key for key, value in other.state_dict().items() if not value.equal(before[key])]
    assert any('shared_basis' in key or 'primary' in key for key in changed)


def test_gradients_of_all_layers_add_up(sharing):
    """What the owner gets is the sum over its own and the other layers' use."""
    algorithm = MODELS.build(sharing()).double()
    one, two, _ = ops_of(algorithm)
    x = torch.randn(2, 8, 6, 6, dtype=torch.double)
    alone = []
    for op in (one, two):
        one.shared_basis.grad = None
        op(x).square().sum().backward()
        alone.append(one.shared_basis.grad.clone())
        assert alone[-1].abs().max() > 0
    one.shared_basis.grad = None
    (one(x).square().sum() + two(x).square().sum()).backward()
    torch.testing.assert_close(one.shared_basis.grad, sum(alone), rtol=1e-12, atol=1e-12)


def test_moving_average_follows_the_shared_parameters(sharing):
    algorithm = MODELS.build(sharing(settings=BN))
    average = ExponentialMovingAverage(algorithm, momentum=0.25)
    key = 'architecture.backbone.conv1.shared_basis'
    expected = None
    for batch in batches(3):
        train(algorithm, [batch])
        average.update_parameters(algorithm)
        now = algorithm.state_dict()[key].clone()
        expected = now if expected is None else 0.75 * expected + 0.25 * now
    torch.testing.assert_close(average.module.state_dict()[key], expected)
    one, two, _ = ops_of(average.module)
    assert two.owner is one
    assert not torch.equal(one.shared_basis, ops_of(algorithm)[0].shared_basis)


def test_optimizer_groups(sharing):
    algorithm = MODELS.build(sharing(settings=BN))
    cfg = dict(
        optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1),
        paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={'shared_basis': dict(lr_mult=0.5)}),
    )
    groups = build_optim_wrapper(algorithm, cfg).optimizer.param_groups
    rates = {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    assert sum(len(g['params']) for g in groups) == len(rates) == len(list(algorithm.parameters()))
    for op in ops_of(algorithm):
        assert rates[id(op.owner.shared_basis)] == (0.5, 0.1)
        assert rates[id(op.coefficients)] == (1.0, 0.1)
        assert rates[id(op.norm.weight)] == (1.0, 0.0)


def test_half_precision(method):
    """Under autocast the added losses are those of full precision, and a step changes all."""
    extra = EXTRA[method](2.0)
    algorithm = MODELS.build(method(**extra))
    (batch,) = batches(1)
    full = algorithm.loss(**batch)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = algorithm.loss(**batch)
    for name in losses:
        if name != 'loss':
            assert losses[name].dtype == torch.float32
            assert torch.equal(losses[name], full[name])
    values = [float(loss['loss'].detach()) for loss in (losses, full)]
    assert values[0] == pytest.approx(values[1], rel=0.05)
    scaler = torch.amp.GradScaler('cpu', init_scale=256.0)
    optimizer = torch.optim.SGD(algorithm.parameters(), lr=0.1)
    before = [parameter.detach().clone() for parameter in algorithm.parameters()]
    scaler.scale(sum(losses.values())).backward()
    scaler.step(optimizer)
    for now, then in zip(algorithm.parameters(), before, strict=True):
        assert now.dtype == torch.float32
        assert now.isfinite().all()
        assert not torch.equal(now, then)


# Resuming


RESUMED = dict(
    norm=lambda path: filter_basis(settings=dict(BN, act_cfg=dict(type='ReLU'), basis_bias=True)),
    svd=lambda path: filter_basis(
        dict(init_cfg=dict(type='Pretrained', checkpoint=path)), init='svd', reconstruction=0.5
    ),
    shared=lambda path: shared_basis(settings=BN, orthogonality=1.0),
    shared_svd=lambda path: shared_basis(
        dict(init_cfg=dict(type='Pretrained', checkpoint=path)), init='svd', reconstruction=0.5
    ),
    linear=lambda path: linear_conv(l1=0.1),
    linear_svd=lambda path: linear_conv(
        dict(init_cfg=dict(type='Pretrained', checkpoint=path)), init='svd', reconstruction=0.5
    ),
)


@pytest.mark.parametrize('case', RESUMED)
def test_resumed_equals_uninterrupted(case, make_runner, dense):
    """Bit for bit: weights, buffers with the dense weights, momentum; no dense network needed."""
    cfg = RESUMED[case](str(dense[1]))
    whole = make_runner(cfg, 3, seed=1)
    whole.train()
    cfg['architecture'].pop('init_cfg', None)
    first = Path(whole.work_dir, 'epoch_1.pth')
    again = make_runner(cfg, 3, seed=1, resume=first)
    again.train()
    assert again.epoch == 3
    ends = [torch.load(Path(r.work_dir, 'epoch_3.pth'), weights_only=True) for r in (whole, again)]
    state = ends[0]['state_dict']
    assert state.keys() == ends[1]['state_dict'].keys()
    start = torch.load(first, weights_only=True)['state_dict']
    for key, value in state.items():
        assert torch.equal(value, ends[1]['state_dict'][key]), key
        if key.endswith('teacher'):
            name = key.removeprefix('architecture.').replace('teacher', 'weight')
            assert torch.equal(value, dense[0].state_dict()[name])
    teachers = [key for key in state if key.endswith('teacher')]
    assert len(teachers) == (3 if 'svd' in case else 0)
    moved = [key for key, value in start.items() if not torch.equal(value, state[key])]
    learned = ['primary', 'mask', 'threshold'] if 'linear' in case else ['shared_basis']
    assert {f'architecture.backbone.conv1.{name}' for name in learned} <= {*moved}
    for one, other in zip(*(end['optimizer']['state'].values() for end in ends), strict=True):
        assert torch.equal(one['momentum_buffer'], other['momentum_buffer'])


def test_resumed_with_a_moving_average(make_runner, dense):
    """mmengine's hook averages, swaps and saves; both networks are resumed bit for bit."""
    loads = dict(init_cfg=dict(type='Pretrained', checkpoint=str(dense[1])))
    cfg = filter_basis(loads, init='svd', reconstruction=0.5)
    runs = []
    for resume in (None, 'epoch_1.pth'):
        path = None if resume is None else Path(runs[0].work_dir, resume)
        runs.append(make_runner(cfg, 2, seed=1, resume=path))
        runs[-1].register_hook(dict(type='EMAHook', momentum=0.1))
        runs[-1].train()
    ends = [torch.load(Path(r.work_dir, 'epoch_2.pth'), weights_only=True) for r in runs]
    for part in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(value, ends[1][part][key]) for key, value in ends[0][part].items())
    key = 'architecture.backbone.conv1.shared_basis'
    averaged = ends[0]['state_dict'][key]
    assert not torch.equal(averaged, ends[0]['ema_state_dict'][f'module.{key}'])
    assert [name for name in ends[0]['state_dict'] if 'shared_basis' in name] == [key]
    # What is saved as the model is the average, which an export takes.
    algorithm = MODELS.build(cfg)
    algorithm.load_state_dict(ends[0]['state_dict'])
    assert torch.equal(ops_of(algorithm)[2].owner.shared_basis, averaged)


@pytest.mark.parametrize('update_buffers', [False, True])
def test_masks_have_no_moving_average(make_runner, update_buffers):
    """They are copied, like all that a method has chosen."""
    cfg = linear_conv()
    runner = make_runner(cfg, 2, seed=1)
    runner.register_hook(dict(type='EMAHook', update_buffers=update_buffers))
    runner.train()
    file = torch.load(Path(runner.work_dir, 'epoch_2.pth'), weights_only=True)
    average, trained = file['state_dict'], file['ema_state_dict']
    own = [key for key in average if key.endswith(('mask', 'threshold', 'order'))]
    assert own
    for key in own:
        assert torch.equal(average[key], trained[f'module.{key}']), key


# Dense checkpoints


@pytest.mark.parametrize('through', ['load_from', 'init_cfg'])
@pytest.mark.parametrize('init', ['kaiming', 'svd'])
def test_dense_checkpoint(method, dense, init, through):
    model, path = dense
    if through == 'init_cfg':
        loads = dict(init_cfg=dict(type='Pretrained', checkpoint=str(path)))
        algorithm = MODELS.build(method(loads, init=init))
        own = copy.deepcopy(algorithm.state_dict())
        algorithm.init_weights()
    else:
        algorithm = MODELS.build(method(init=init))
        own = copy.deepcopy(algorithm.state_dict())
        load_checkpoint(algorithm, str(path), strict=False)
    # What there is no op for is as in the dense network.
    for key in ('backbone.conv0.weight', 'backbone.bn3.running_var', 'head.weight'):
        assert torch.equal(algorithm.architecture.state_dict()[key], model.state_dict()[key])
    assert torch.equal(ops_of(algorithm)[1].bias, model.backbone.conv2.bias)
    name = 'combination' if method is linear_conv else 'coefficients'
    key = f'architecture.backbone.conv2.{name}'
    kept = torch.equal(own[key], algorithm.state_dict()[key])
    assert kept == (init == 'kaiming')
    for unit in algorithm.mutator.units.values():
        if init == 'kaiming':
            assert unit.error is None
            continue
        convs = [model.get_submodule(layer).weight.detach() for layer in unit.layers]
        ops = [algorithm.architecture.get_submodule(layer) for layer in unit.layers]
        gaps = [(conv - op.filters()).square().sum() for conv, op in zip(convs, ops, strict=True)]
        total = sum(conv.square().sum() for conv in convs)
        assert unit.error == pytest.approx(float((sum(gaps) / total).detach()) ** 0.5, rel=1e-4)
        assert 0.1 < unit.error < 0.95


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16, torch.double])
def test_dense_checkpoint_of_another_type(method, dense, dtype):
    state = dense[0].to(dtype).state_dict()
    algorithm = MODELS.build(method(init='svd', reconstruction=1.0))
    algorithm.load_state_dict(state, strict=False)
    for op, name in zip(ops_of(algorithm), CONVS, strict=True):
        assert {p.dtype for p in op.parameters()} == {torch.float32}
        assert op.teacher.dtype == torch.float32
        assert torch.equal(op.teacher, state[f'backbone.{name}.weight'].float())
    assert all(0 < unit.error < 1 for unit in algorithm.mutator.units.values())
    algorithm.start(wrapper_of(algorithm))


@pytest.mark.parametrize('missing', [('conv2',), CONVS, ('conv3',)], ids=len)
def test_dense_checkpoint_that_lacks_layers(method, dense, missing):
    state = dense[0].state_dict()
    for name in missing:
        del state[f'backbone.{name}.weight']
    algorithm = MODELS.build(method(init='svd'))
    algorithm.load_state_dict(state, strict=False)
    lacking = 'no dense weights'
    if missing != CONVS:
        lacking += f" of 'backbone.{missing[0]}' of filter unit"
    with pytest.raises(CompressionError, match=lacking):
        algorithm.start(wrapper_of(algorithm))


def test_reconstruction_needs_every_dense_weight(method, dense):
    state = dense[0].state_dict()
    del state['backbone.conv3.weight']
    algorithm = MODELS.build(method(reconstruction=1.0))
    algorithm.load_state_dict(state, strict=False)
    with pytest.raises(CompressionError, match='reconstruction is set, but no dense weights'):
        algorithm.start(wrapper_of(algorithm))


@pytest.mark.parametrize('changes', [dict(init='svd'), dict(reconstruction=1.0)], ids=str)
def test_training_does_not_start_without_dense_weights(method, changes):
    algorithm = MODELS.build(method(**changes))
    with pytest.raises(CompressionError, match='name the checkpoint of the dense network in load'):
        algorithm.start(wrapper_of(algorithm))


def test_dense_weights_of_another_shape(method, dense):
    state = dense[0].state_dict()
    state['backbone.conv2.weight'] = torch.zeros(8, 8, 5, 5)
    algorithm = MODELS.build(method())
    with pytest.raises(CompressionError) as raised:
        algorithm.load_state_dict(state, strict=False)
    for word in ('backbone.conv2', '(8, 8, 5, 5)', '(8, 8, 3, 3)'):
        assert word in str(raised.value)


def test_another_head_is_no_obstacle(method, tmp_path):
    """As when a network for 1000 classes is fine-tuned for 4."""
    model = MODELS.build(dict(type='mmengine.BasisNet', num_classes=7))
    algorithm = MODELS.build(method(init='svd'))
    check_belongs(algorithm, model.state_dict(), 'dense.pth')
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'dense.pth')
    head = algorithm.architecture.head.weight.clone()
    load_checkpoint(algorithm, str(tmp_path / 'dense.pth'), strict=False)
    assert torch.equal(algorithm.architecture.head.weight, head)
    algorithm.start(wrapper_of(algorithm))


# Checkpoints of the algorithm


def test_checkpoint_round_trip(method, dense):
    algorithm = MODELS.build(method(init='svd', settings={}))
    algorithm.load_state_dict(dense[0].state_dict(), strict=False)
    train(algorithm, batches(2))
    state = copy.deepcopy(algorithm.state_dict())
    other = MODELS.build(method(init='svd'))
    other.load_state_dict(state)
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
    other.start(wrapper_of(other))  # needs no dense network
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(algorithm.eval()(x), other.eval()(x))


def test_checkpoint_of_another_rank(sharing):
    state = MODELS.build(sharing()).state_dict()
    cfg = sharing()
    units = cfg['mutator_cfg']['filter_unit_cfg']['units']
    name, key = ('all', 'num_filters') if sharing is filter_basis else ('pair', 'shared_rank')
    units[name]['init_args'][key] = 3
    other = MODELS.build(cfg)
    with pytest.raises(RuntimeError, match='size mismatch'):
        other.load_state_dict(state)


def test_own_copies_of_shared_tensors(sharing):
    """A checkpoint may have a copy for every layer, as long as they are equal."""
    state = copy.deepcopy(MODELS.build(sharing()).state_dict())
    key = 'architecture.backbone.{}.shared_basis'
    state[key.format('conv2')] = state[key.format('conv1')].clone()
    algorithm = MODELS.build(sharing())
    algorithm.load_state_dict(state)
    assert torch.equal(ops_of(algorithm)[1].owner.shared_basis, state[key.format('conv2')])
    state[key.format('conv2')][0, 0] += 1
    with pytest.raises(CompressionError, match='conv2.shared_basis in the checkpoint differs'):
        algorithm.load_state_dict(state)


def test_teachers_do_not_learn_and_are_no_weights(method, dense):
    algorithm = MODELS.build(method(init='svd', reconstruction=1.0))
    algorithm.load_state_dict(dense[0].state_dict(), strict=False)
    log = train(algorithm, batches(2))
    assert float(log['loss_reconstruction'].detach()) > 0
    assert not any('teacher' in name for name, _ in algorithm.named_parameters())
    for op, name in zip(ops_of(algorithm), CONVS, strict=True):
        assert torch.equal(op.teacher, dense[0].get_submodule(f'backbone.{name}').weight)


def test_reconstruction_loss(method, dense):
    """By the formula, in float64, and its gradient pulls filters to the dense ones."""
    algorithm = MODELS.build(method(reconstruction=0.25)).double()
    algorithm.load_state_dict(dense[0].double().state_dict(), strict=False)
    gap = total = 0
    for op, name in zip(ops_of(algorithm), CONVS, strict=True):
        weight = dense[0].get_submodule(f'backbone.{name}').weight
        gap += (weight - op.filters()).square().sum()
        total += weight.square().sum()
    loss = algorithm.own_losses()['loss_reconstruction']
    torch.testing.assert_close(loss, 0.25 * gap / total)
    loss.backward()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    assert algorithm.own_losses()['loss_reconstruction'] < loss


def test_no_extra_loss_by_weight_zero(method):
    extra = EXTRA[method](0.0)
    algorithm = MODELS.build(method(**extra))
    assert algorithm.own_losses() == {}
    assert list(algorithm.loss(**batches(1)[0])) == ['loss']


SCRIPT = """
import os, sys
import torch
import torch.distributed as dist
sys.path.insert(0, 'tests/core/filters')
import test_algorithm as tests  # registers BasisNet
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS
from mmcompress.core import Clock

torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
for name, given in torch.load(f'{folder}/given.pth').items():
    torch.manual_seed(rank)  # the first process says what all start from
    algorithm = MODELS.build(given['cfg'])
    if rank == 0:
        algorithm.load_state_dict(given['state'])
    model = MMDistributedDataParallel(algorithm)
    algorithm.eval()  # batch norm would see the other half of a batch
    wrapper = tests.wrapper_of(model)
    algorithm.start(wrapper)
    for i, batch in enumerate(given['batches']):
        half = slice(4 * rank, 4 * rank + 4)
        part = dict(inputs=batch['inputs'][half], data_samples=batch['data_samples'][half])
        algorithm.tick(Clock(0, i, 1, 5, i == 0))
        model.train_step(part, wrapper)
    torch.save(algorithm.state_dict(), f'{folder}/{name}{rank}.pth')
sys.stdout.flush()
os._exit(0)  # gloo's threads now and then abort a process that ends in order
"""


@pytest.mark.slow
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path, dense):
    given = {}
    for name, cfg in dict(
        filter_basis=filter_basis(settings=dict(BN, act_cfg=dict(type='ReLU'))),
        shared_basis=shared_basis(orthogonality=1.0, settings=BN),
        taught=shared_basis(orthogonality=1.0, reconstruction=1.0),
        linear_conv=linear_conv(correlation=1.0, l1=1.0),
    ).items():
        algorithm = MODELS.build(cfg)
        if name == 'taught':
            algorithm.load_state_dict(dense[0].state_dict(), strict=False)
        state = copy.deepcopy(algorithm.state_dict())
        given[name] = dict(cfg=cfg, state=state, batches=batches(5))
    torch.save(given, tmp_path / 'given.pth')
    (tmp_path / 'script.py').write_text(SCRIPT, encoding='utf-8')
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    ranks = [
        subprocess.Popen(
            [sys.executable, '-W', 'ignore', tmp_path / 'script.py', str(rank), str(tmp_path)],
            cwd=ROOT,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors[-3000:]
    for name, one in given.items():
        algorithm = MODELS.build(one['cfg'])
        algorithm.load_state_dict(one['state'])
        train(algorithm.eval(), one['batches'])
        learned = 'primary' if 'linear' in name else 'shared_basis'
        key = f'architecture.backbone.conv1.{learned}'
        assert (algorithm.state_dict()[key] - one['state'][key]).abs().max() > 1e-3
        states = [torch.load(tmp_path / f'{name}{rank}.pth') for rank in range(2)]
        for key, value in algorithm.state_dict().items():
            assert torch.equal(states[0][key], states[1][key]), key
            torch.testing.assert_close(states[0][key], value, rtol=0, atol=1e-6, msg=key)


def test_pretrained_weights_are_something_to_start_from(classifier_cfg):
    def algorithm(**backbone):
        return MODELS.build(
            dict(
                type='mmcompress.FilterBasis', architecture=classifier_cfg(8, **backbone),
                target_pruning_ratio=0.5, init='svd',
            )
        )  # fmt: skip

    with pytest.raises(CompressionError, match="init is 'svd', but no dense weights"):
        algorithm().check_start(loads=False)
    algorithm().check_start(loads=True)
    pretrained = dict(type='Pretrained', checkpoint='dense.pth')
    algorithm(init_cfg=pretrained).check_start(loads=False)
    algorithm(init_cfg=[pretrained]).check_start(loads=False)


def test_resumed_where_an_initialisation_has_dense_weights_of_some_units_only(dense):
    """Those of a backbone; what is resumed takes their place, and needs no others."""
    loads = dict(init_cfg=dict(type='Pretrained', checkpoint=str(dense[1])))
    weights = torch.load(dense[1], weights_only=True)
    weights = weights.get('state_dict', weights)
    first = MODELS.build(shared_basis(init='svd'))
    first.load_state_dict(dict(weights), strict=False)
    first.start(None)
    algorithm = MODELS.build(shared_basis(loads, init='svd'))
    some = {key: value for key, value in weights.items() if 'conv3' not in key}
    algorithm.architecture.load_state_dict(some, strict=False)
    with pytest.raises(CompressionError, match='no dense weights of'):
        algorithm.start(None)
    algorithm.load_state_dict(first.state_dict())
    algorithm.start(None)
