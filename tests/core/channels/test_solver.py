"""core/budget.py: the closed form against mmengine's counter, limits, and mistakes."""

import copy
from statistics import median

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.registry import MODELS
from torch import nn

from mmcompress.core import CompressionAlgorithm, CompressionError, DependencyAnalyzer
from mmcompress.core.base.budget import Budget
from mmcompress.core.channels.config import narrow_units
from mmcompress.core.channels.solver import solve
from mmcompress.core.channels.unit import ChannelUnit
from mmcompress.core.probe.demo_inputs import SIZES
from mmcompress.registry import MODELS as OURS
from mmcompress.report import complexity

CONV1, CONV2 = 'backbone.conv1_(0, 8)_8', 'backbone.conv2_(0, 16)_16'


def conv(c_in, c_out, kernel=3, **kwargs):
    return nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, **kwargs)


class _Net(nn.Module):
    """A stem, a middle that subclasses give, and a head on a flattened feature map."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict(dict(stem=conv(3, 12), norm=nn.BatchNorm2d(12)))
        self.backbone.update(self.layers())
        self.pool = nn.MaxPool2d(4)
        self.head = nn.Linear(24 * 4, 5)

    def forward(self, x):
        x = self.backbone['norm'](self.backbone['stem'](x)).relu()
        return self.head(self.pool(self.middle(x, self.backbone)).flatten(1))


class Plain(_Net):
    def layers(self):
        return dict(a=conv(12, 20, stride=2), b=nn.ConvTranspose2d(20, 24, 2, 2), n=nn.PReLU(24))

    def middle(self, x, b):
        return nn.functional.max_pool2d(b['n'](b['b'](b['a'](x))), 2)


class Residual(_Net):
    def layers(self):
        return dict(
            a=conv(12, 24), b=conv(24, 24, bias=False), n=nn.GroupNorm(4, 24), c=conv(24, 24)
        )

    def middle(self, x, b):
        x = b['a'](x)
        return nn.functional.max_pool2d(x + b['c'](b['n'](b['b'](x)).relu()), 2)


class Depthwise(_Net):
    def layers(self):
        return dict(a=conv(12, 12, groups=12), b=conv(12, 24, 1), n=nn.BatchNorm2d(24))

    def middle(self, x, b):
        return nn.functional.max_pool2d(b['n'](b['b'](b['a'](x).relu())), 2)


class Grouped(_Net):
    def layers(self):
        return dict(a=conv(12, 24, groups=4), b=conv(24, 24, groups=2))

    def middle(self, x, b):
        return nn.functional.max_pool2d(b['b'](b['a'](x).relu()), 2)


class Concatenated(_Net):
    def layers(self):
        return dict(a=conv(12, 8), b=conv(20, 4), n=nn.BatchNorm2d(24))

    def middle(self, x, b):
        x = torch.cat([x, b['a'](x)], 1)
        return nn.functional.max_pool2d(b['n'](torch.cat([x, b['b'](x)], 1)), 2)


class Attentive(_Net):
    """Channels attend to each other: MACs outside of layers, which grow with the square."""

    attentions = 0

    def layers(self):
        return dict(a=conv(12, 24, 1))

    def middle(self, x, b):
        x = nn.functional.max_pool2d(b['a'](x), 2)
        for _ in range(self.attentions):
            flat = x.flatten(2)
            x = ((flat @ flat.transpose(1, 2)).softmax(-1) @ flat).view_as(x)
        return x


SHAPE = (3, 16, 16)


def units_of(model, shape=(1, *SHAPE)):
    return DependencyAnalyzer(input_shape=shape).analyze(model).units


def counted(model, shape=SHAPE):
    """MACs and parameters by mmengine, seen from outside."""
    info = get_model_complexity_info(
        copy.deepcopy(model).eval(), shape, show_table=False, show_arch=False
    )
    return dict(macs=info['flops'], params=sum(p.numel() for p in model.parameters()))


def narrowed(model, units, ratios):
    model = copy.deepcopy(model)
    widths = [(unit, round(unit.num_channels * ratios[name])) for name, unit in units.items()]
    narrow_units(model, widths)
    return model


@pytest.mark.parametrize(
    'kind', [Plain, Residual, Depthwise, Grouped, Concatenated, Attentive], ids=lambda k: k.__name__
)
@pytest.mark.parametrize('target', [dict(macs=0.7), dict(macs=0.45), dict(params=0.5)])
def test_reached_is_what_mmengine_counts(kind, target):
    model = kind()
    units = units_of(model)
    assert len(units) >= 2
    # Not for the analyzer, which takes minutes to follow channels through such products.
    model.attentions = 4
    solution = solve(model, units, Budget.from_config(target), SHAPE)
    assert set(solution.ratios) == set(units)
    assert solution.dense == counted(model)
    assert solution.reached == counted(narrowed(model, units, solution.ratios))
    for cost, share in target.items():
        assert solution.reached[cost] <= share * solution.dense[cost]
        # Networks of a few channels: a step is some percent.
        assert solution.reached[cost] > (share - 0.15) * solution.dense[cost]


@pytest.fixture(scope='module')
def resnet50():
    from mmpretrain.models import ResNet

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = ResNet(50)
            self.head = nn.Linear(2048, 1000)

        def forward(self, x):
            return self.head(self.backbone(x)[0].mean((2, 3)))

    model = Classifier()
    return model, units_of(model, None)


R50_SHAPE = (3, 64, 64)


def solve_r50(resnet50, **target):
    model, units = resnet50
    solution = solve(model, units, Budget.from_config(target), R50_SHAPE)
    assert solution.reached == counted(narrowed(model, units, solution.ratios), R50_SHAPE)
    return solution


@pytest.mark.parametrize('cost', ['macs', 'params'])
def test_resnet50_to_one_percent(resnet50, cost):
    solution = solve_r50(resnet50, **{cost: 0.55})
    assert 0.549 < solution.reached[cost] / solution.dense[cost] <= 0.55
    # One common ratio, to within a channel or two.
    common = median(solution.ratios.values())
    for name, unit in resnet50[1].items():
        assert abs(solution.ratios[name] - common) < 0.005 + 1 / unit.num_channels


def test_absolute_and_relative_budgets_agree(resnet50):
    dense = solve_r50(resnet50, params=1.0).dense
    assert set(solve_r50(resnet50, params=1.0).ratios.values()) == {1.0}
    relative = solve_r50(resnet50, params=0.5)
    assert solve_r50(resnet50, params=dense['params'] / 2) == relative
    assert 9_990_000 < solve_r50(resnet50, params='10M').reached['params'] <= 10_000_000


def test_the_tighter_of_two_budgets_decides(resnet50):
    both = solve_r50(resnet50, macs=0.55, params=0.3)
    assert both == solve_r50(resnet50, params=0.3)
    assert both.reached['macs'] < 0.55 * both.dense['macs']


def test_divisor(resnet50):
    solution = solve_r50(resnet50, macs=0.55, divisor=16)
    widths = {n: solution.ratios[n] * u.num_channels for n, u in resnet50[1].items()}
    assert all(width % 16 == 0 for width in widths.values())
    assert any(width % 32 for width in widths.values())
    assert 0.54 < solution.reached['macs'] / solution.dense['macs'] <= 0.55


def test_limits_by_stage(resnet50):
    solution = solve_r50(
        resnet50,
        macs=0.55,
        min_ratio={'backbone.layer1.*': 0.9, 'backbone.conv1_(0, 64)_64': 1.0},
        max_ratio={'backbone.layer4.*': 0.4},
    )
    assert 0.545 < solution.reached['macs'] / solution.dense['macs'] <= 0.55
    ratios = solution.ratios
    assert ratios['backbone.conv1_(0, 64)_64'] == 1
    assert all(ratio >= 0.9 for name, ratio in ratios.items() if '.layer1.' in name)
    assert all(ratio <= 0.4 for name, ratio in ratios.items() if '.layer4.' in name)
    assert max(r for n, r in ratios.items() if '.layer3.' in n) > 0.4


def test_min_ratio(resnet50):
    solution = solve_r50(resnet50, macs=0.2, min_ratio=0.4)
    assert min(solution.ratios.values()) >= 0.4
    assert min(solve_r50(resnet50, macs=0.05).ratios.values()) >= 0.1


@pytest.fixture
def tiny(tiny_cfg):
    return MODELS.build(tiny_cfg)


@pytest.mark.parametrize(
    ('target', 'message'),
    [
        (0.55, r'budget is 0.55; it has to be a dict such as dict\(macs=0.55\)'),
        ({}, 'budget names no budget: give macs, params or latency'),
        (dict(min_ratio=0.1), 'budget names no budget'),
        (dict(latency=1.5), "budget.latency is 1.5; .* share .* such as '12 ms'"),
        (dict(latency='12'), "budget.latency is '12'"),
        (dict(latency='fast'), "budget.latency is 'fast'"),
        (dict(latency=0.5, runtime='tensorrt'), "budget.runtime is 'tensorrt'; .* onnxruntime, "),
        (dict(latency=0.5, threads=0), 'budget.threads is 0; it has to be a positive integer'),
        (dict(latency=0.5, batch=True), 'budget.batch is True'),
        (dict(latency=0.5, table=3), 'budget.table is 3; .* path of a file of times'),
        (dict(latency=0.5, found=3), 'budget.found is 3; it has to be what `mmcompress train`'),
        (dict(macs=0.5, runtime='torch'), "budget.runtime is 'torch', which says how budget.lat"),
        (dict(macs=0.5, divisor='most'), "budget.divisor is 'most'; it has to be a positive"),
        (dict(mac=0.5), "budget has no 'mac'; the nearest of its keys are 'macs'"),
        (dict(macs=0), 'budget.macs is 0; it has to be a share'),
        (dict(macs=-0.5), 'budget.macs is -0.5'),
        (dict(macs=True), 'budget.macs is True'),
        (dict(params='many'), "budget.params is 'many'"),
        (dict(macs='0.5k5'), "budget.macs is '0.5k5'"),
        (dict(macs=float('nan')), 'budget.macs is nan'),
        (dict(macs=9e9), r'budget.macs is 9G, more than the dense .*: 33.86k MACs at 3x8x8'),
        (dict(macs=0.5, divisor=0), 'budget.divisor is 0; it has to be a positive integer'),
        (dict(macs=0.5, input_shape=224), 'budget.input_shape is 224; .* three positive integers'),
        (dict(macs=0.5, input_shape=(1, 3, 8, 8)), 'three positive integers'),
        (dict(macs=0.5, min_ratio=0), 'budget.min_ratio is 0; a keep ratio'),
        (dict(macs=0.5, max_ratio=1.5), 'budget.max_ratio is 1.5; a keep ratio'),
        (
            dict(macs=0.5, max_ratio={'backbone.conv9*': 0.5}),
            r"budget.max_ratio: 'backbone.conv9\*' matches no channel unit .* 'backbone.conv",
        ),
        (dict(macs=0.5, min_ratio={'backbone.conv1_*': 'a'}), r"budget.min_ratio\[.*'a'"),
        (dict(macs=0.5, min_ratio=0.8, max_ratio=0.7), 'has no width between min_ratio 0.8 and'),
        (dict(macs=0.5, max_ratio=0.9, divisor=16), "unit 'backbone.conv1_.* multiple of 16"),
        (
            dict(macs=0.1, min_ratio=0.5),
            r'budget.macs asks for .* \(0.1\) at 3x8x8; the smallest .* min_ratio .* \(0\.3\d+\)',
        ),
        (dict(params=0.9, max_ratio=0.5), 'no network uses the budget up; the largest has'),
    ],
)
def test_mistakes(tiny, target, message):
    with pytest.raises(CompressionError, match=message):
        solve(tiny, units_of(tiny, (1, 3, 8, 8)), Budget.from_config(target), (3, 8, 8))


def test_an_image_that_does_not_fit(tiny):
    budget = Budget.from_config(dict(macs=0.5, input_shape=(5, 8, 8)))
    with pytest.raises(CompressionError, match='cannot be counted at 5x8x8 .* budget.input_shape'):
        solve(tiny, units_of(tiny), budget)


def test_sizes_by_library(classifier_cfg, tiny):
    budget = Budget.from_config(dict(params=0.5))
    model = MODELS.build(classifier_cfg())
    found = solve(model, units_of(model), budget)
    assert found.input_shape == (3, *SIZES['mmpretrain'])
    # Of no library: as the analyzer.
    assert solve(tiny, units_of(tiny), budget).input_shape == (3, 64, 64)


def test_weights_and_chance_play_no_part(tiny, rng_state):
    budget = Budget.from_config(dict(macs=0.5))
    units = units_of(tiny)
    state, weights, before = rng_state(), copy.deepcopy(tiny.state_dict()), tiny.training
    first = solve(tiny, units, budget)
    assert rng_state() == state
    assert tiny.training == before
    assert all(torch.equal(weights[key], value) for key, value in tiny.state_dict().items())
    assert not any(module._forward_hooks for module in tiny.modules())
    with torch.no_grad():
        for parameter in tiny.parameters():
            parameter.fill_(float('nan'))
    torch.manual_seed(5)
    assert solve(tiny, units, budget) == first


# In an algorithm


@OURS.register_module(force=True)
class LazyUnit(ChannelUnit):
    """A unit that leaves its layers as they are."""

    def prepare(self, architecture):
        return []


MUTATOR = dict(type='DCFFMutator', channel_unit_cfg=dict(type='LazyUnit'))


def test_an_algorithm_with_a_target(tiny_cfg):
    cfg = dict(type='mmcompress.DCFF', architecture=tiny_cfg, budget=dict(params=0.5))
    model = MODELS.build(cfg)
    choices = model.mutator.choice_template
    assert all(0 < ratio < 1 for ratio in choices.values())
    # Any other time: the same network, into which the checkpoint fits; so do its ratios.
    torch.manual_seed(7)
    again = MODELS.build(cfg)
    again.load_state_dict(model.state_dict())
    by_ratio = dict(type='mmcompress.DCFF', architecture=tiny_cfg, target_pruning_ratio=choices)
    MODELS.build(by_ratio).load_state_dict(model.state_dict())


def test_the_image_of_the_analyzer_is_taken(tiny_cfg, monkeypatch):
    seen = []
    monkeypatch.setattr(
        'mmcompress.core.channels.mutator.solve',
        lambda *args: seen.append(args[-1]) or solve(*args),
    )
    mutator = dict(MUTATOR, parse_cfg=dict(input_shape=(2, 3, 16, 16)))
    CompressionAlgorithm(tiny_cfg, mutator, budget=dict(macs=0.5))
    CompressionAlgorithm(tiny_cfg, MUTATOR, budget=dict(macs=0.5))
    assert seen == [(3, 16, 16), None]


def test_two_answers_to_one_question(tiny_cfg):
    with pytest.raises(CompressionError, match='budget and target_pruning_ratio are both given'):
        CompressionAlgorithm(tiny_cfg, MUTATOR, target_pruning_ratio=0.5, budget=dict(macs=0.5))
    units = {CONV1: dict(choice=0.5), CONV2: dict(choice=1.0)}
    mutator = dict(type='DCFFMutator', channel_unit_cfg=dict(type='LazyUnit', units=units))
    with pytest.raises(CompressionError, match=r'keeps 0.5 by channel_unit_cfg.units, but budget'):
        CompressionAlgorithm(tiny_cfg, mutator, budget=dict(macs=0.5))


def test_a_detector_counts_as_the_report_does(library_model):
    """All its proposals count, however few the analyzer lets through."""
    model = library_model(
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        backbone__depth=18,
        backbone__init_cfg=None,
        neck__in_channels=[64, 128, 256, 512],
        test_cfg__rpn__max_per_img=50,  # reached with any weights
    )
    shape = (3, 128, 128)
    units = DependencyAnalyzer().analyze(model).units
    solution = solve(model, units, Budget.from_config(dict(macs=0.95)), shape)
    assert solution.dense['macs'] == complexity(model, shape)['macs']


def test_the_old_name_of_a_budget(tiny_cfg):
    old = CompressionAlgorithm(tiny_cfg, MUTATOR, target=dict(macs=0.5))
    new = CompressionAlgorithm(tiny_cfg, MUTATOR, budget=dict(macs=0.5))
    assert old.mutator.choice_template == new.mutator.choice_template
    with pytest.raises(CompressionError, match='`target`.*`budget`'):
        CompressionAlgorithm(tiny_cfg, MUTATOR, target=dict(macs=0.5), budget=dict(macs=0.5))
