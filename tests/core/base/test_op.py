"""core/base/op.py: one contract, to which every op of every registered method is held.

Methods are found in the registry, and built on one small network; a method that wants to be seen
with more than its defaults names the arguments in ``CASES`` of ``tests/methods/<name>/cases.py``.
"""

import contextlib
import copy
import importlib.util
import inspect
import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS as ROOT
from torch import nn

import mmcompress
from mmcompress.core import CompressionAlgorithm
from mmcompress.core.base.conv_op import ConvOp
from mmcompress.core.base.op import Op
from mmcompress.core.export.static import to_static
from mmcompress.registry import MODELS, TASK_UTILS

METHODS = sorted(
    (
        kind
        for kind in set(MODELS.module_dict.values())
        if inspect.isclass(kind)
        and issubclass(kind, CompressionAlgorithm)
        and kind.__module__.startswith('mmcompress.methods.')
    ),
    key=lambda kind: kind.__name__,
)
CLOSE = dict(rtol=1e-4, atol=1e-5)


def cases(kind):
    """Arguments of a method besides the architecture."""
    folder = kind.__module__.split('.')[2]
    path = Path(__file__).parents[2] / 'methods' / folder / 'cases.py'
    if not path.is_file():
        return [dict(target_pruning_ratio=0.5)]
    spec = importlib.util.spec_from_file_location(f'cases_of_{folder}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


CASES = [(kind, i) for kind in METHODS for i in range(len(cases(kind)))]
each_case = pytest.mark.parametrize(
    ('kind', 'index'), CASES, ids=[f'{kind.__name__}-{i}' for kind, i in CASES]
)


@ROOT.register_module(force=True)
class VariedNet(BaseModel):
    """Convolutions with and without norms, biases, groups and neighbours they are added to."""

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)

        def norm(channels):
            return nn.BatchNorm2d(channels)

        self.backbone = nn.ModuleDict(
            dict(
                stem=nn.Conv2d(3, 8, 3, padding=1, bias=False), bn0=norm(8),
                conv1=nn.Conv2d(8, 16, 3, stride=2, padding=1),
                conv2=nn.Conv2d(16, 16, 3, padding=1, groups=2, bias=False), bn2=norm(16),
                conv3=nn.Conv2d(16, 16, 3, padding=1, bias=False), bn3=norm(16),
                conv4=nn.Conv2d(16, 16, 3, padding=1), bn4=norm(16),
                conv5=nn.Conv2d(16, 12, 1), bn5=norm(12),
            )
        )  # fmt: skip
        self.head = nn.Linear(12, 4)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        b = self.backbone
        x = b['bn0'](b['stem'](inputs)).relu()
        x = b['conv1'](x).relu()
        x = b['bn2'](b['conv2'](x)).relu()
        x = (x + b['bn4'](b['conv4'](b['bn3'](b['conv3'](x)).relu()))).relu()
        logits = self.head(b['bn5'](b['conv5'](x)).relu().mean((2, 3)))
        if mode == 'loss':
            return dict(loss=nn.functional.cross_entropy(logits, torch.as_tensor(data_samples)))
        return logits


def dense():
    return randomized(ROOT.build(dict(type='mmengine.VariedNet')))


def randomized(model):
    """With weights and statistics of no special value; scales of filters stay 1."""
    scales = {id(m.scales) for m in model.modules() if hasattr(m, 'scales_name')}
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
        for name, p in model.named_parameters():
            if id(p) not in scales and name.endswith('bias'):
                p.normal_()
    return model


def build(kind, index):
    cfg = dict(cases(kind)[index], type=f'mmcompress.{kind.__name__}')
    return randomized(ROOT.build(dict(cfg, architecture=dict(type='mmengine.VariedNet'))))


def images(dtype=torch.float32):
    return torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(3), dtype=dtype)


def ops_of(model):
    found = {name: module for name, module in model.named_modules() if isinstance(module, Op)}
    assert found
    return found


def inputs_of(model):
    """Ops of a model by name, each with what it is given in a forward pass."""
    seen = {}
    hooks = [
        op.register_forward_hook(lambda m, given, _, name=name: seen.update({name: given[0]}))
        for name, op in ops_of(model).items()
    ]
    model.eval()(images(next(model.parameters()).dtype))
    for hook in hooks:
        hook.remove()
    return {name: (op, seen[name].detach()) for name, op in ops_of(model).items()}


def test_methods_are_found():
    folder = Path(mmcompress.__file__).parent / 'methods'
    there = {path.parent.name for path in folder.glob('*/__init__.py')}
    assert {kind.__module__.split('.')[2] for kind in METHODS} == there


@each_case
def test_every_layer_of_a_method_is_an_op(kind, index):
    architecture = build(kind, index).architecture
    package = '.'.join(kind.__module__.split('.')[:3])
    inside = [f'{name}.' for name in ops_of(architecture)]
    for name, module in architecture.named_modules():
        if type(module).__module__.startswith(package) and not name.startswith(tuple(inside)):
            assert isinstance(module, Op), name


@each_case
@torch.no_grad()
def test_static_layers_do_the_same(kind, index):
    for name, (op, x) in inputs_of(build(kind, index).architecture).items():
        expected = op(x)
        for form in (None, *op.forms):
            static = op.to_static(form).eval()
            assert not any(isinstance(module, Op) for module in static.modules()), name
            scale = expected.abs().max().clamp(min=1)
            torch.testing.assert_close(static(x) / scale, expected / scale, **CLOSE, msg=name)


@each_case
def test_costs_are_those_of_the_layers(kind, index):
    for name, op in ops_of(build(kind, index).architecture).items():
        assert op.forms, name
        for form in op.forms:
            weights = [p for p in op.to_static(form).parameters() if p.ndim > 1]
            assert op.cost(form) == sum(weight.numel() for weight in weights), (name, form)


@each_case
def test_what_is_stored_makes_the_weight(kind, index):
    shared = set()
    for name, op in ops_of(build(kind, index).architecture).items():
        stored = op.stored()
        assert all(isinstance(tensor, torch.Tensor) for tensor in stored.values()), name
        assert not any(tensor.requires_grad for tensor in stored.values()), name
        shared |= {tensor.data_ptr() for tensor in stored.values()}
        for form in op.forms:
            static = op.to_static(form).state_dict()
            for key, recipe in op.recipes(form).items():
                make = TASK_UTILS.get(recipe.function)
                made = make(recipe.tensors, list(static[key].shape), **recipe.settings)
                assert made.dtype == torch.float64, (name, form)
                torch.testing.assert_close(made.float(), static[key], rtol=0, atol=1e-7)
                json.dumps(recipe.settings)
    assert shared


@each_case
def test_dense_weights_are_completed(kind, index):
    """A plain layer's tensors become those of the op: all that it has, at their values."""
    architecture, modules = build(kind, index).architecture, dict(dense().named_modules())
    for name, op in ops_of(architecture).items():
        state = {f'here.{key}': value for key, value in modules[name].state_dict().items()}
        state['elsewhere'] = torch.ones(1)
        op.fill_missing(state, 'here.')
        assert torch.equal(state.pop('elsewhere'), torch.ones(1))
        lacking = [key for key in op.state_dict() if f'here.{key}' not in state]
        assert not lacking, (name, lacking)


@each_case
def test_own_weights_stay_as_they_are(kind, index):
    for name, op in ops_of(build(kind, index).architecture).items():
        state = {f'here.{key}': value for key, value in op.state_dict().items()}
        before = dict(state)
        op.fill_missing(state, 'here.')
        assert set(state) == set(before), name
        assert all(state[key] is value for key, value in before.items()), name


@each_case
@torch.no_grad()
def test_copies_are_independent(kind, index):
    algorithm = build(kind, index)
    twin = copy.deepcopy(algorithm)
    x = images()
    expected = algorithm.architecture.eval()(x)
    assert torch.equal(twin.architecture.eval()(x), expected)
    own = {t.data_ptr() for t in algorithm.state_dict().values() if t.numel()}
    assert not own & {t.data_ptr() for t in twin.state_dict().values() if t.numel()}
    for parameter in twin.parameters():
        parameter.mul_(1.5)
    twin.train().eval()
    assert torch.equal(algorithm.architecture(x), expected)
    assert not torch.equal(twin.architecture(x), expected)
    for op in ops_of(algorithm.architecture).values():
        copy.deepcopy(op)  # without its model


@each_case
@torch.no_grad()
def test_everything_is_in_the_state_dict(kind, index):
    algorithm, other = build(kind, index), build(kind, index)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.5)
    other.load_state_dict(copy.deepcopy(algorithm.state_dict()))
    other.train().eval()
    x = images()
    assert torch.equal(other.architecture(x), algorithm.architecture.eval()(x))
    for key, value in algorithm.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@each_case
@torch.no_grad()
def test_data_types(kind, index):
    algorithm = build(kind, index).double()
    for name, (op, x) in inputs_of(algorithm.architecture).items():
        assert op(x).dtype == torch.float64, name
        static = op.to_static()
        floating = [t for t in static.state_dict().values() if t.is_floating_point()]
        assert all(tensor.dtype == torch.float64 for tensor in floating), name
        torch.testing.assert_close(static.eval()(x), op(x), rtol=1e-9, atol=1e-9, msg=name)


@each_case
@pytest.mark.parametrize('training', [True, False])
def test_a_forward_pass_waits_for_no_device(kind, index, training, monkeypatch):
    """On the meta device, whatever asks for a value fails."""
    # It asks for no value, and knows no such device.
    monkeypatch.setattr(torch, 'autocast', lambda *_, **__: contextlib.nullcontext())
    architecture = build(kind, index).architecture
    given = inputs_of(architecture)
    architecture.to('meta').train(training)
    for name, (op, x) in given.items():
        out = op(x.to('meta'))
        assert out.is_meta, name
        assert out.shape[0] == x.shape[0], name


@each_case
@torch.no_grad()
def test_the_whole_network_is_exported(kind, index):
    algorithm = build(kind, index)
    static, x = to_static(algorithm), images()
    assert not any(isinstance(module, Op) for module in static.modules())
    expected = algorithm.architecture.eval()(x)
    assert static(x).shape == expected.shape
    if not algorithm.unfinished():
        torch.testing.assert_close(static(x), expected, **CLOSE)


CONVS = sorted(
    (
        op
        for op in set(MODELS.module_dict.values())
        if inspect.isclass(op) and issubclass(op, ConvOp)
    ),
    key=lambda op: op.__name__,
)


@pytest.mark.parametrize('op', CONVS)
def test_initialised_as_a_convolution(op):
    """A network that trains from scratch starts from the initialisation of its own config."""
    model = BaseModule(dict(type='Kaiming', layer='Conv2d', mode='fan_out'))
    model.conv = op(nn.Conv2d(64, 64, 3))
    model.init_weights()
    torch.testing.assert_close(
        model.conv.weight.std().item(), math.sqrt(2 / (64 * 9)), rtol=0.05, atol=0
    )
