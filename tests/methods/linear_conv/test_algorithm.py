"""LinearConv as an algorithm: sizes, what is left dense, losses and masks on schedule."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS

from mmcompress.core import Clock, CompressionError
from mmcompress.core.export.static import to_static
from mmcompress.methods.linear_conv import algorithm as source


@MODELS.register_module(force=True)
class Mixed(BaseModel):
    """Convolutions of all kinds: a stem, grouped, depthwise, 1x1."""

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = nn.Sequential()
        self.backbone.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.backbone.grouped = nn.Conv2d(16, 24, 3, padding=1, groups=2)
        self.backbone.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.backbone.widened = nn.Conv2d(24, 96, 3, padding=1, groups=24)
        self.backbone.pointwise = nn.Conv2d(96, 32, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        out = self.backbone(inputs).mean(dim=(2, 3))
        return dict(loss=out.square().mean()) if mode == 'loss' else out


def build(target=None, parse_cfg=None, init='kaiming', losses=None, units=None, **settings):
    return MODELS.build(
        dict(
            type='mmcompress.LinearConv',
            architecture=dict(type='mmengine.Mixed'),
            mutator_cfg=dict(
                type='LinearConvMutator',
                parse_cfg=parse_cfg,
                filter_unit_cfg=dict(default_args=settings, **(units or {})),
            ),
            target_pruning_ratio=target,
            init=init,
            **(losses or {}),
        )
    )


VARIANTS = {
    'linear': dict(),
    'lowrank': dict(rank=1),
    'rankratio': dict(rank_ratio=0.5),
    'sparse': dict(target_sparsity=0.75),
}


def train(algorithm, iterations, whole=None):
    """Train, and return the names of the losses of each iteration."""
    wrapper = OptimWrapper(torch.optim.SGD(algorithm.parameters(), lr=0.01))
    algorithm.start(wrapper)
    seen = []
    for index in range(iterations):
        algorithm.tick(Clock(0, index, 1, whole or iterations, index == 0))
        images = torch.randn(2, 3, 6, 6)
        seen.append([*algorithm.train_step(dict(inputs=images), wrapper)][1:])
    return seen


def test_every_convolution_by_default():
    algorithm = build()
    names = ['stem', 'grouped', 'widened', 'pointwise']
    assert [*algorithm.mutator.units] == [f'backbone.{name}' for name in names]
    for unit in algorithm.mutator.units.values():
        [op] = unit.ops.values()
        assert op.num_primary == op.out_channels // op.groups // 2
    # One filter in each group: nothing to combine.
    assert type(algorithm.architecture.backbone.depthwise) is nn.Conv2d


def test_nothing_to_combine():
    with pytest.raises(CompressionError, match='none of the 1 convolutions .* two filters in a'):
        build(parse_cfg=dict(include='backbone.depthwise'))


@pytest.mark.parametrize('ratio', [0.4, 0.5, 0.75])
@pytest.mark.parametrize('variant', VARIANTS)
def test_as_many_primary_filters_as_the_ratio_leaves_room_for(variant, ratio):
    parse_cfg = dict(exclude='backbone.widened')
    algorithm = build(ratio, parse_cfg, variant=variant, **VARIANTS[variant])

    def weights(op, p):
        n = op.out_channels // op.groups
        size = op.primary[0].numel()
        rank = dict(lowrank=1, rankratio=max(1, p // 2)).get(variant)
        if rank is None:
            rest = (n - p) * p if variant == 'linear' else round((n - p) * p * 0.25)
        else:
            rest = n * rank
        return op.groups * (p * size + rest)

    for unit in algorithm.mutator.units.values():
        [op] = unit.ops.values()
        dense = torch.Size(op.dense_shape).numel()
        assert weights(op, op.num_primary) == unit.num_parameters <= ratio * dense
        assert weights(op, op.num_primary + 1) > ratio * dense
        assert unit.choice == pytest.approx(unit.num_parameters / dense, abs=1e-6)
        if variant != 'sparse':
            assert sum(p.numel() for p in op.weights()) == unit.num_parameters


@pytest.mark.parametrize('variant', VARIANTS)
def test_what_the_tools_write_builds_the_same(variant):
    parse_cfg = dict(exclude='backbone.widened')
    algorithm = build(0.5, parse_cfg, variant=variant, **VARIANTS[variant])
    shapes = {key: value.shape for key, value in algorithm.state_dict().items()}
    for options in ((False, False), (True, False), (True, True)):
        config = algorithm.mutator.config_template(*options)
        again = MODELS.build(
            dict(
                type='mmcompress.LinearConv',
                architecture=dict(type='mmengine.Mixed'),
                mutator_cfg=config,
                target_pruning_ratio=None if options[0] else algorithm.mutator.choice_template,
            )
        )
        assert {key: value.shape for key, value in again.state_dict().items()} == shapes


@pytest.mark.parametrize('variant', VARIANTS)
def test_dense_network_of_such_filters_is_fitted_exactly(variant):
    """What has so many independent filters, and combinations of such a rank, loses nothing."""
    torch.manual_seed(0)
    source = build(0.5, dict(exclude='backbone.widened'), variant=variant, **VARIANTS[variant])
    dense = to_static(source)
    made = build(
        0.5, dict(exclude='backbone.widened'), init='qr', variant=variant, **VARIANTS[variant]
    )
    made.load_state_dict(dense.state_dict(), strict=False)
    ranked = variant in ('lowrank', 'rankratio')
    for unit in made.mutator.units.values():
        # Other filters may be primary ones: then the rank of the combinations is not that small.
        assert unit.error < (0.5 if ranked else 1e-5)
        for op in unit.ops.values():
            weight = dense.get_submodule(unit.name).weight.flatten(1)
            assert all((weight == row).all(1).any() for row in op.primary.detach().flatten(1))
    if not ranked:
        x = torch.randn(2, 3, 6, 6)
        torch.testing.assert_close(made.eval()(x), dense(x), rtol=0, atol=1e-5)


def test_svd_leaves_the_least_error():
    """Eckart and Young: no other filters of which so many are independent are nearer."""
    torch.manual_seed(0)
    dense = MODELS.build(dict(type='mmengine.Mixed'))
    errors = {}
    for init in ('qr', 'svd'):
        made = build(0.5, dict(exclude='backbone.widened'), init=init)
        made.load_state_dict(dense.state_dict(), strict=False)
        errors[init] = {unit.name: unit.error for unit in made.mutator.units.values()}
    for unit in made.mutator.units.values():
        [op] = unit.ops.values()
        weight = dense.get_submodule(unit.name).weight.detach().double()
        groups = weight.flatten(1).view(op.groups, -1, weight[0].numel())
        rest = sum(torch.linalg.svdvals(rows)[op.num_primary :].square().sum() for rows in groups)
        assert unit.error == pytest.approx(float(rest / weight.square().sum()) ** 0.5, rel=1e-4)
        assert unit.error < errors['qr'][unit.name]


def test_layers_that_several_levels_share():
    """One op in all places, fitted once to what a dense checkpoint has for each of them."""

    @MODELS.register_module(force=True)
    class Levels(Mixed):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            shared = nn.Conv2d(16, 16, 3, padding=1)
            self.backbone = nn.Module()
            self.backbone.levels = nn.ModuleList(nn.Sequential(shared) for _ in range(2))

        def forward(self, inputs, data_samples=None, mode='tensor'):
            return sum(level(inputs) for level in self.backbone.levels)

    dense = MODELS.build(dict(type='mmengine.Levels'))
    made = MODELS.build(
        dict(type='mmcompress.LinearConv', architecture=dict(type='mmengine.Levels'), init='qr')
    )
    first, second = (level[0] for level in made.architecture.backbone.levels)
    assert first is second
    made.load_state_dict(dense.state_dict(), strict=False)
    assert [*made.mutator.units] == ['backbone.levels.0.0']
    x = torch.randn(1, 16, 5, 5)
    static = to_static(made)
    assert static.backbone.levels[0][0] is static.backbone.levels[1][0]
    torch.testing.assert_close(static(x), made.eval()(x), rtol=1e-5, atol=1e-5)
    assert made.mutator.units['backbone.levels.0.0'].error > 0


def test_losses_of_every_third_batch():
    algorithm = build(losses=dict(loss_interval=3), variant='sparse', target_sparsity=0.5)
    both = ['loss_correlation', 'loss_l1']
    named = [[n for n in names if n != 'loss'] for names in train(algorithm, 7)]
    assert named == [[], [], both, [], [], both, []]
    losses = algorithm.own_losses()
    assert losses == {}


@pytest.mark.parametrize('variant', ['linear', 'sparse'])
def test_forward_pass_is_compiled_twice(variant):
    """With the losses of the method and without them; not anew at every iteration."""
    algorithm = build(losses=dict(loss_interval=3), variant=variant, **VARIANTS[variant])
    graphs = CompileCounter()
    torch._dynamo.reset()
    # The target of mmengine's `compile=True`.
    forward = torch.compile(algorithm.forward, backend=graphs)
    counts, sizes = [], []
    for index in range(9):
        algorithm.tick(Clock(0, index, 1, 9, index == 0))
        sizes.append(len(forward(torch.randn(2, 3, 6, 6), mode='loss')))
        counts.append(graphs.frame_count)
    own = 2 if variant == 'sparse' else 1
    assert sizes == [1, 1, 1 + own] * 3
    # All that there is to compile has been by the end of the first three.
    assert counts[8] == counts[2] > 0


def test_values_of_the_losses():
    algorithm = build(
        losses=dict(correlation=0.5, l1=0.25), variant='sparse', target_sparsity=0.5
    ).double()
    losses = algorithm.own_losses()
    l1 = sum(op.combination.abs().sum() for op in algorithm._ops())
    torch.testing.assert_close(losses['loss_l1'], 0.25 * l1)
    expected = 0.0
    for op in algorithm._ops():
        for rows in op.primary.detach().flatten(1).split(op.num_primary):
            expected += (
                (torch.corrcoef(rows).view(len(rows), -1) - torch.eye(len(rows))).abs().sum()
            )
    torch.testing.assert_close(losses['loss_correlation'].detach(), 0.5 * expected)


def test_no_l1_but_for_sparse_combinations():
    algorithm = build(losses=dict(loss_interval=1))
    assert [*algorithm.own_losses()] == ['loss_correlation']
    assert algorithm.progress() == {}


def test_masks_on_schedule():
    algorithm = build(
        losses=dict(mask_interval=3, threshold_step=0.5), variant='sparse', target_sparsity=0.5
    )
    [op, *_] = algorithm._sparse()
    thresholds, full = [], []
    for index in range(8):
        algorithm.tick(Clock(0, index, 1, 8, index == 0))
        thresholds.append(float(op.threshold))
        full.append(bool(op.mask.all()))
    first = 0.5 * (2 / (1 + 10**-5) - 1)
    assert thresholds[:6] == pytest.approx([0] * 3 + [first] * 3)
    assert thresholds[6] == thresholds[7] != thresholds[5]
    assert full == [True] * 6 + [False] * 2
    progress = algorithm.progress()
    sparse = algorithm._sparse()
    masked = sum(int((~op.mask).sum()) for op in sparse)
    assert progress['sparsity'] == masked / sum(op.mask.numel() for op in sparse) > 0
    assert progress['threshold'] == pytest.approx(sum(float(o.threshold) for o in sparse) / 4)


def looks(algorithm, passes, monkeypatch):
    """Numbers of the forward passes, from 1 on, whose masks are new."""
    seen, iteration, number = [], 0, 0
    monkeypatch.setattr(algorithm, '_look', lambda: seen.append(number))
    for number, kind in enumerate(passes, start=1):  # noqa: B007
        if kind == 'train':
            algorithm.tick(Clock(0, iteration, 1, 2000, iteration == 0))
            iteration += 1
        else:
            algorithm.eval().val_step(dict(inputs=torch.randn(1, 3, 6, 6)))
    return seen


SPARSE = dict(variant='sparse', target_sparsity=0.5)


def test_first_look_as_published(monkeypatch):
    """In forward pass 500, by every count; by training iterations once 500 of them are over."""
    passes = ['train'] * 1501
    algorithm = build(losses=dict(count_evaluation=True), **SPARSE)
    assert looks(algorithm, passes, monkeypatch) == [500, 1000, 1500]
    assert looks(build(**SPARSE), passes, monkeypatch) == [501, 1001, 1501]


def test_evaluation_counts_if_it_is_to(monkeypatch):
    passes = (['train'] * 5 + ['evaluate'] * 2) * 4
    counting = build(losses=dict(mask_interval=6, count_evaluation=True), **SPARSE)
    assert looks(counting, passes, monkeypatch) == [6, 12, 18, 24]
    assert int(counting.state_dict()['passes']) == 28
    # The 7th, 13th and 19th training iteration.
    plain = build(losses=dict(mask_interval=6), **SPARSE)
    assert looks(plain, passes, monkeypatch) == [9, 17, 25]
    assert 'passes' not in plain.state_dict()


def test_evaluation_before_training_does_not_count():
    algorithm = build(losses=dict(mask_interval=1, count_evaluation=True), **SPARSE)
    algorithm.eval().val_step(dict(inputs=torch.randn(1, 3, 6, 6)))
    assert int(algorithm.passes) == 0
    assert not any(op.threshold for op in algorithm._sparse())


def test_a_look_in_an_evaluation_is_seen_by_it():
    algorithm = build(
        losses=dict(mask_interval=2, threshold_step=0.2, count_evaluation=True), **SPARSE
    )
    algorithm.tick(Clock(0, 0, 1, 8, True))
    x = torch.randn(1, 3, 6, 6)
    algorithm.eval()
    outs = []
    with torch.no_grad():
        for _ in range(3):
            outs.append(algorithm.val_step(dict(inputs=x)))
    # Looks in passes 2 and 4; the first one finds a threshold of 0.
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[1], outs[2])


def test_forward_passes_are_saved(monkeypatch):
    settings = dict(losses=dict(mask_interval=6, count_evaluation=True), **SPARSE)
    first = build(**settings)
    looks(first, ['train', 'train', 'evaluate', 'train'], monkeypatch)
    again = build(**settings)
    again.load_state_dict(first.state_dict())
    assert looks(again, ['train', 'evaluate', 'train'], monkeypatch) == [2]
    assert int(again.passes) == 7


def test_target_that_is_out_of_reach_is_said_once(monkeypatch):
    lines = []
    monkeypatch.setattr(source, 'print_log', lambda text, **_: lines.append(text))
    for step, warned in ((1e-5, 1), (1.0, 0)):
        lines.clear()
        losses = dict(mask_interval=3, threshold_step=step)
        train(build(losses=losses, variant='sparse', target_sparsity=0.5), 4, whole=10)
        assert len(lines) == warned
        if warned:
            assert 'mask_interval 3, which makes 3 steps in this run' in lines[0]
            assert "'backbone.stem' needs" in lines[0]


ERRORS = {
    'init': (dict(init='qrs'), "init is 'qrs'; it has to be one of kaiming, qr, svd"),
    'svd': (
        dict(init='svd', variant='lowrank', rank=2),
        "'qr' for variant 'lowrank'; set",
    ),
    'variant': (dict(variant='low'), "filter unit 'backbone.stem': variant is 'low'"),
    'rank': (
        dict(variant='lowrank', rank=5),
        "filter unit 'backbone.widened': rank is 5, but the layer has 2 primary filters",
    ),
    'stage': (dict(parse_cfg=dict(rule='network')), "(in parse_cfg, rule='layer' does so)"),
    'large rank': (
        dict(target=0.5, variant='lowrank', rank=20),
        "filter unit 'backbone.stem': rank is 20, but the layer has 16 filters (in a group)",
    ),
    'unused': (dict(losses=dict(l1=0.1)), 'l1 is 0.1, but no filter unit has variant'),
    'unused count': (dict(losses=dict(count_evaluation=True)), 'count_evaluation is True, but no'),
    'count_evaluation': (dict(losses=dict(count_evaluation=1)), 'count_evaluation is 1; it has to'),
    'unused interval': (dict(losses=dict(mask_interval=5)), 'mask_interval is 5, but no filter'),
    'ratio': (
        dict(target=0.01),
        "filter unit 'backbone.stem': 0.01 of the parameters cannot be kept: with 1 of 16 filters "
        'primary it is 0.0972; leave the layer out',
    ),
    'both': (dict(target=0.5, primary_ratio=0.5), 'remove one of the two'),
    'loss_interval': (dict(losses=dict(loss_interval=0)), 'loss_interval is 0; it has to be a p'),
    'mask_interval': (dict(losses=dict(mask_interval=2.5)), 'mask_interval is 2.5; it has to'),
    'threshold_step': (dict(losses=dict(threshold_step=0)), 'threshold_step is 0; it has to be'),
    'l1': (dict(losses=dict(l1=-1)), 'l1 is -1; it has to be a number of at least 0'),
}


@pytest.mark.parametrize('case', ERRORS)
def test_wrong_settings(case):
    settings, says = ERRORS[case]
    with pytest.raises(CompressionError) as raised:
        build(**settings)
    assert says in str(raised.value)
