"""core/factors.py: what is stored as factors comes back as weights, whoever loads it."""

import json
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_checkpoint
from torch import nn

import mmcompress
from mmcompress.core import CompressionAlgorithm, CompressionError, sub_model
from mmcompress.core.base.mutator import Mutator
from mmcompress.core.base.op import Op, Recipe
from mmcompress.core.export.checkpoint import load_into
from mmcompress.core.export.export import export
from mmcompress.core.export.factors import check_specs, factored_state, weights_of_factors
from mmcompress.core.export.static import to_static
from mmcompress.registry import TASK_UTILS

LAYER = 'backbone.conv2'
KEY = f'{LAYER}.weight'
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@TASK_UTILS.register_module(name='ToyFactors', force=True)
def toy_factors(tensors, shape, scale):
    """A column times a row, and a number."""
    if not math.isfinite(scale):
        raise ValueError('the scale is not finite')
    return scale * (tensors['column'] * tensors['row']).reshape(-1, *shape[1:])


class ToyConv(Op, nn.Conv2d):
    """A convolution whose filters are all multiples of one."""

    def make(self):
        self.weight = None
        self.column = nn.Parameter(torch.randn(self.out_channels, 1))
        # Views of more than they show, as parameters may be.
        self.row = nn.Parameter(torch.randn(10, self.in_channels * 9)[3:4])
        return self

    def recipes(self, form=None):
        return {'weight': Recipe('ToyFactors', self.stored(), dict(scale=0.5))}

    def stored(self):
        return dict(column=self.column, row=self.row)

    def filters(self):
        return toy_factors(self.stored(), [self.out_channels, self.in_channels, 3, 3], 0.5)

    def forward(self, x):
        return self._conv_forward(x, self.filters(), self.bias)

    def to_static(self, form=None):
        conv = nn.Conv2d(self.in_channels, self.out_channels, 3, self.stride, self.padding)
        conv.weight.data, conv.bias.data = self.filters().data, self.bias.data
        return conv


@MODELS.register_module(force=True)
class ToyMutator(Mutator):
    parser = 'none'

    def prepare_from_supernet(self, architecture, target=None, budget=None):
        conv = architecture.get_submodule(LAYER)
        conv.__class__ = ToyConv
        conv.make()


@MODELS.register_module(force=True)
class ToyAlgorithm(CompressionAlgorithm):
    pass


@pytest.fixture
def cfg(tiny_cfg):
    return Config(
        dict(
            model=dict(
                type='mmengine.ToyAlgorithm',
                architecture=tiny_cfg,
                mutator_cfg=dict(type='mmengine.ToyMutator'),
            )
        )
    )


@pytest.fixture
def trained(cfg):
    return MODELS.build(cfg.model).eval()


@pytest.fixture
def exported(trained, cfg, tmp_path):
    return export(trained, cfg, tmp_path / 'out', store='smallest')


def test_there_and_back(trained):
    static = to_static(trained)
    state, specs = factored_state(trained.architecture, static)
    assert set(state) - set(static.state_dict()) == {
        f'{LAYER}.factors.column',
        f'{LAYER}.factors.row',
    }
    assert f'{LAYER}.weight' not in state
    assert json.loads(json.dumps(specs)) == specs
    assert specs[KEY]['shape'] == [16, 8, 3, 3]
    assert specs[KEY]['tensors'] == {n: f'{LAYER}.factors.{n}' for n in ('column', 'row')}
    assert state[f'{LAYER}.factors.row'].untyped_storage().nbytes() == 4 * 72
    before = dict(state)
    weights = weights_of_factors(state, specs)
    assert state == before
    assert set(weights) == set(static.state_dict())
    for key, value in static.state_dict().items():
        assert torch.equal(weights[key], value)


def test_factors_that_are_larger_stay_a_weight(trained):
    static = to_static(trained)
    op = trained.architecture.get_submodule(LAYER)
    op.row = nn.Parameter(op.row.detach().repeat(op.out_channels, 1))
    state, specs = factored_state(trained.architecture, static)
    assert specs == {}
    assert state.keys() == static.state_dict().keys()
    assert torch.equal(state[f'{LAYER}.weight'], static.get_submodule(LAYER).weight)


def test_every_way_of_loading(trained, cfg, exported, tiny_cfg, tmp_path):
    expected = trained(X)
    assert exported['max_difference'] == 0
    path = exported['checkpoint']
    content = torch.load(path, weights_only=True)
    assert f'{LAYER}.weight' not in content['state_dict']
    subnet = json.loads((tmp_path / 'out' / 'fix_subnet.json').read_text())

    def built(**kwargs):
        return sub_model(tiny_cfg, subnet, **kwargs).eval()

    pretrained = dict(type='Pretrained', checkpoint=path)
    as_a_config = built(init_cfg=pretrained)
    dense = MODELS.build(dict(tiny_cfg, init_cfg=pretrained))
    as_a_config.init_weights()
    dense.init_weights()
    by_mmengine, by_us, through_a_runner = built(), built(), MODELS.build(tiny_cfg)
    load_checkpoint(by_mmengine, path, strict=True)
    load_into(by_us, path)
    runner = Runner(through_a_runner, str(tmp_path / 'run'), load_from=path, experiment_name='x')
    runner.load_or_resume()
    # And without any of these.
    plain = MODELS.build(tiny_cfg).eval()
    plain.load_state_dict(mmcompress.load_compact(path))
    for model in (as_a_config, dense, by_mmengine, by_us, through_a_runner, plain):
        assert torch.equal(model.eval()(X), expected)


def test_training_goes_on_with_weights(exported, tiny_cfg, tmp_path):
    """A checkpoint of such a run has weights, and resumes."""
    subnet = json.loads((tmp_path / 'out' / 'fix_subnet.json').read_text())
    model = sub_model(tiny_cfg, subnet)
    load_into(model, exported['checkpoint'])
    assert f'{LAYER}.weight' in model.state_dict()
    again = sub_model(tiny_cfg, subnet)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(X), model.eval()(X))


def test_size_of_the_file(trained, cfg, exported, tmp_path):
    as_weights = export(trained, cfg, tmp_path / 'weights', store='weights')
    for result in (exported, as_weights):
        size = (tmp_path / result['checkpoint']).stat().st_size
        assert result['checkpoint_bytes'] == size
    # 16 filters of 72 numbers each, against 16 + 72.
    assert as_weights['checkpoint_bytes'] - exported['checkpoint_bytes'] > 3000
    assert 'factors' not in torch.load(as_weights['checkpoint'], weights_only=True)


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda c: c['state_dict'].pop(f'{LAYER}.factors.row'), "conv2.factors.row' is missing"),
        (
            lambda c: c['state_dict'].update({f'{LAYER}.factors.column': torch.ones(15, 1)}),
            r"conv2.weight' comes out as \(15, 8, 3, 3\), not \(16, 8, 3, 3\)",
        ),
        (
            lambda c: c['factors'][KEY].update(scale=math.inf),
            "'backbone.conv2.weight' cannot be made of its factors: the scale is not finite",
        ),
        (
            lambda c: c['factors'][KEY].update(scale='1'),
            "'backbone.conv2.weight' cannot be made of its factors: must be real number",
        ),
        (
            lambda c: c['factors'][KEY].pop('scale'),
            "'backbone.conv2.weight' cannot be made of its factors: .*'scale'",
        ),
        (
            lambda c: c['factors'][KEY].update(shape=[4, 8, 3, 3]),
            r"'backbone.conv2.weight' comes out as \(16, 8, 3, 3\), not \(4, 8, 3, 3\)",
        ),
        (lambda c: c['factors'][KEY].update(type='ToyFactor'), "nearest are 'ToyFactors'"),
        (lambda c: c.update(factors=[1]), '`factors` has to be a dict'),
        (lambda c: c['factors'].update({KEY: 1}), "'backbone.conv2.weight' is 1"),
    ],
)
def test_a_file_that_does_not_fit(exported, tmp_path, change, says):
    content = torch.load(exported['checkpoint'], weights_only=True)
    change(content)
    path = tmp_path / 'changed.pth'
    torch.save(content, path)
    with pytest.raises(CompressionError, match=says):
        mmcompress.load_compact(path)


def test_specs_of_nothing():
    assert check_specs({}, 'here') == {}


def test_a_wrong_factor_is_noticed_before_anything_is_written(trained, cfg, tmp_path, monkeypatch):
    wrong = {'weight': lambda op: Recipe('ToyFactors', op.stored(), dict(scale=0.51))}
    monkeypatch.setattr(
        ToyConv, 'recipes', lambda op, form=None: {k: make(op) for k, make in wrong.items()}
    )
    refuses(trained, cfg, tmp_path, 'differs from the trained one.*nothing was written')


def test_weights_with_a_norm_folded_in_are_stored(trained, cfg, tmp_path):
    result = export(trained, cfg, tmp_path / 'out', fold_bn=True)
    assert result['factored'] == 0
    assert result['max_difference'] < 1e-5
    assert 'factors' not in torch.load(result['checkpoint'], weights_only=True)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_numbers_of_16_bits(trained, cfg, exported, tmp_path, dtype):
    result = export(trained, cfg, tmp_path / dtype, dtype=dtype)
    content = torch.load(result['checkpoint'], weights_only=True)
    kinds = {key: value.dtype for key, value in content['state_dict'].items()}
    assert kinds[f'{LAYER}.factors.column'] == kinds['head.weight'] == getattr(torch, dtype)
    assert kinds['backbone.bn1.running_var'] == torch.float32
    assert 1e-6 < result['max_difference'] < 0.05
    for key, value in mmcompress.load_compact(result['checkpoint']).items():
        assert value.dtype in (torch.float32, getattr(torch, dtype), torch.int64), key
    assert mmcompress.load_compact(result['checkpoint'])[KEY].dtype == torch.float32


def test_settings_that_are_not_there(trained, cfg, tmp_path):
    for key in ('store', 'dtype'):
        with pytest.raises(CompressionError, match=f"{key} is 'some'"):
            export(trained, cfg, tmp_path / 'out', **{key: 'some'})


def refuses(trained, cfg, tmp_path, says, **settings):
    with pytest.raises(CompressionError, match=says):
        export(trained, cfg, tmp_path / 'out', store='smallest', **settings)
    assert list(tmp_path.iterdir()) == []
