"""methods/fcf/loading.py: scalars of another model are refused, dense weights get ones."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from mmcompress.core import CompressionError


@MODELS.register_module(force=True)
class OneBlock(BaseModel):
    """With a projection shortcut, whose norm has a wrapper only if scalars are shared."""

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.stem = nn.Conv2d(3, 4, 3)
        self.backbone = nn.ModuleDict(
            dict(
                conv=nn.Conv2d(4, 6, 3, padding=1, bias=False),
                bn=nn.BatchNorm2d(6),
                downsample=nn.Conv2d(4, 6, 1, bias=False),
                bn2=nn.BatchNorm2d(6),
            )
        )
        self.head = nn.Linear(6, 2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x, b = self.stem(inputs), self.backbone
        x = b['bn'](b['conv'](x)) + b['bn2'](b['downsample'](x))
        return self.head(x.relu().mean((2, 3)))


def fcf(architecture, stage='finetune', ratio=0.5, **mutator):
    return MODELS.build(
        dict(
            type='mmcompress.FCF',
            architecture=architecture,
            mutator_cfg=dict(type='FCFMutator', **mutator),
            target_pruning_ratio=ratio,
            stage=stage,
        )
    )


def first_stage(architecture, **mutator):
    algorithm = fcf(architecture, 'factorize', **mutator)
    algorithm.started.fill_(True)
    with torch.no_grad():
        for v in algorithm.scalars:
            v.copy_(torch.linspace(0, 1, len(v)))
    return algorithm.state_dict()


BLOCK = 'backbone.layer1.0.conv1'


@pytest.mark.parametrize('load', ['torch', 'mmengine'])
@pytest.mark.parametrize(
    ('first', 'second', 'layer', 'place'),
    [
        (dict(), dict(scope='unit'), 'backbone.conv1', 'this model'),
        (dict(skip=['*layer1.0.conv1']), dict(), BLOCK, 'this model'),
        (dict(), dict(skip=['*layer1.0.conv1']), BLOCK, 'the loaded checkpoint'),
    ],
    ids=['scope', 'skip', 'skip more'],
)
def test_another_scope_or_skip(classifier_cfg, first, second, layer, place, load):
    state = first_stage(classifier_cfg(), **first)
    algorithm = fcf(classifier_cfg(), **second)
    before = copy.deepcopy(algorithm.state_dict())
    message = f"'{layer}' has scalars of its own in {place} only; .*same `scope` and `skip`"
    with pytest.raises(CompressionError, match=message):
        if load == 'torch':
            algorithm.load_state_dict(state, strict=False)
        else:
            load_state_dict(algorithm, state)
    assert all(torch.equal(value, before[key]) for key, value in algorithm.state_dict().items())


@pytest.mark.parametrize(
    ('scopes', 'place'),
    [(('filter', 'unit'), 'this model'), (('unit', 'filter'), 'the loaded checkpoint')],
    ids=str,
)
def test_the_same_scalars_with_other_norms(scopes, place):
    net = dict(type='OneBlock')
    state = first_stage(net, scope=scopes[0])
    algorithm = fcf(net, scope=scopes[1])
    owners = [{k for k in keys if k.endswith('.v')} for keys in (state, algorithm.state_dict())]
    assert owners == [{'architecture.backbone.conv.v'}] * 2, 'only norms tell them apart'
    message = f"'backbone.bn2' has scalars of its own in {place} only"
    with pytest.raises(CompressionError, match=message):
        algorithm.load_state_dict(state, strict=False)


@pytest.mark.parametrize('scope', ['filter', 'unit'])
def test_the_same_mutator(classifier_cfg, scope):
    state = first_stage(classifier_cfg(), scope=scope)
    algorithm = fcf(classifier_cfg(), scope=scope)
    algorithm.load_state_dict(state)
    algorithm.settle()
    for unit in algorithm.mutator.units.values():
        assert unit.op.v.tolist() == [0] * (len(unit.op.v) // 2) + [1] * (len(unit.op.v) // 2)


def test_widths_do_not_matter_here():
    """Of a wider network; that not even shapes fit is for torch to say."""
    net = dict(type='OneBlock')
    state = first_stage(net)
    state['architecture.backbone.conv.v'] = torch.ones(9)
    with pytest.raises(RuntimeError, match=r'size mismatch for architecture.backbone.conv.v'):
        fcf(net).load_state_dict(state)


def test_weights_of_a_dense_network(classifier_cfg):
    dense = MODELS.build(classifier_cfg()).state_dict()
    algorithm = fcf(classifier_cfg(), 'factorize', scope='unit')
    missing, unexpected = algorithm.load_state_dict(dense, strict=False)
    assert not unexpected
    assert not [key for key in missing if key.startswith('architecture.')]


@pytest.mark.parametrize('load', ['torch', 'mmengine'])
@pytest.mark.parametrize('scale', ['output', 'weight'])
def test_a_backbone_that_can_load_by_itself_is_accepted_with_the_whole(classifier_cfg, scale, load):
    """Its `init_cfg` asks for that; settings of the mutator are not among what it has."""
    network = classifier_cfg(init_cfg=dict(type='Pretrained', checkpoint='dense.pth'))
    state = first_stage(network, scale=scale)
    algorithm = fcf(network, scale=scale)
    if load == 'torch':
        algorithm.load_state_dict(copy.deepcopy(state))
    else:
        load_state_dict(algorithm, copy.deepcopy(state), strict=True)
    own = algorithm.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[key], state[key]) for key in state)
