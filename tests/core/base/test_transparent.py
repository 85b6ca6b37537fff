"""What others find on the algorithm: the attributes of the model inside of it."""

import copy
import pickle

import pytest
import torch
from mmengine.model import BaseModel, ExponentialMovingAverage, is_model_wrapper
from torch import nn

from mmcompress.core.base.transparent import Transparent


class Inner(BaseModel):
    """A model with everything that a wrapper can get in the way of."""

    kind = 'inner'

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 1)
        self.register_buffer('steps', torch.tensor(0))
        self.scale = nn.Parameter(torch.ones(1))
        self.loss_lambda = 0.5
        self.init = 'of the inner model'
        self.module = 'not a wrapper of distributed training'
        self._private = 1

    def set_epoch(self, epoch):
        self.epoch = epoch

    def forward(self, images, labels=None, mode='tensor'):
        out = self.backbone(images)
        return dict(loss=out.sum(), labels=labels) if mode == 'loss' else (mode, out)


class Outer(Transparent):
    """An algorithm with a setting that is called like one of the inner model."""

    @property
    def broken(self):
        raise AttributeError('of the property')

    def __init__(self, inner, own=False):
        super().__init__(inner)
        self.init = 'of the outer model'
        if own:
            self.extra = nn.Linear(2, 2)


@pytest.fixture
def inner():
    return Inner()


@pytest.fixture
def outer(inner):
    return Outer(inner)


def test_reading_finds_what_the_inner_model_has(outer, inner):
    assert outer.backbone is inner.backbone
    assert outer.scale is inner.scale
    assert outer.steps is inner.steps
    assert outer.kind == 'inner'
    outer.set_epoch(3)
    assert inner.epoch == outer.epoch == 3


def test_nothing_is_found_that_neither_has(outer):
    assert not hasattr(outer, 'neck')
    with pytest.raises(AttributeError, match="'Outer' object has no attribute 'neck'"):
        outer.neck  # noqa: B018
    with pytest.raises(AttributeError):
        outer.broken  # noqa: B018


def test_private_names_are_not_shared(outer, inner):
    assert not hasattr(outer, '_private')
    outer._private = 2
    assert inner._private == 1


def test_it_is_not_taken_for_a_distributed_wrapper(outer):
    assert not hasattr(outer, 'module')
    assert not is_model_wrapper(outer)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('loss_lambda', 0.0),
        ('backbone', nn.Conv2d(3, 2, 1)),
        ('scale', nn.Parameter(torch.zeros(1))),
        ('steps', torch.tensor(7)),
        ('kind', 'changed'),
    ],
)
def test_writing_reaches_the_inner_model(outer, inner, name, value):
    before = set(outer.state_dict())
    setattr(outer, name, value)
    assert getattr(inner, name) is value
    assert getattr(outer, name) is value
    assert name not in vars(outer)
    assert set(outer.state_dict()) == before


def test_settings_of_the_outer_model_stay_its_own(outer, inner):
    assert (outer.init, inner.init) == ('of the outer model', 'of the inner model')
    outer.init = 'changed'
    assert (outer.init, inner.init) == ('changed', 'of the inner model')


def test_new_attributes_are_those_of_the_outer_model(outer, inner):
    outer.dataset_meta = dict(classes=('a',))
    assert not hasattr(inner, 'dataset_meta')


def test_the_state_has_the_names_of_the_inner_model_once(outer, inner):
    assert set(outer.state_dict()) == {f'architecture.{name}' for name in inner.state_dict()}
    assert len(list(outer.parameters())) == len(list(inner.parameters()))


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_transparent_and_apart(outer, inner, copied):
    other = copied(outer)
    other.loss_lambda = 0.1
    other.backbone.weight.data.zero_()
    assert inner.loss_lambda == 0.5
    assert other.architecture.loss_lambda == 0.1
    assert inner.backbone.weight.abs().sum() > 0


def test_an_average_of_the_weights(outer, inner):
    average = ExponentialMovingAverage(outer, momentum=0.5)
    inner.scale.data.fill_(3.0)
    average.update_parameters(outer)  # the first copies
    inner.scale.data.fill_(5.0)
    average.update_parameters(outer)
    assert average.module.architecture.scale.item() == pytest.approx(4.0)
    assert average.module.scale is average.module.architecture.scale


def test_distributed_wrappers_see_the_algorithm(outer, tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(outer, find_unused_parameters=True)
        assert wrapped.module is outer
        wrapped.module.loss_lambda = 0.0
        loss = wrapped(torch.rand(1, 3, 2, 2), mode='loss')['loss']
        loss.backward()
    finally:
        torch.distributed.destroy_process_group()
    assert outer.architecture.loss_lambda == 0.0
    assert outer.architecture.backbone.weight.grad is not None


def test_forward_takes_what_the_inner_model_takes(outer):
    images = torch.rand(1, 3, 2, 2)
    losses = outer(images=images, labels=3, mode='loss')
    assert losses['labels'] == 3
    assert outer(images, mode='predict')[0] == 'predict'
    assert outer(images)[0] == 'tensor'


def test_named_as_dense_is_the_inner_model(outer, inner):
    assert outer.named_as_dense() is inner


def test_named_as_dense_has_parameters_of_the_outer_model_too(inner):
    outer = Outer(inner, own=True)
    view = outer.named_as_dense()
    assert isinstance(view, Inner)
    names = dict(view.named_parameters())
    assert set(names) == {*dict(inner.named_parameters()), 'extra.weight', 'extra.bias'}
    assert names['backbone.weight'] is inner.backbone.weight
    assert not hasattr(inner, 'extra')


def test_initialisation_runs_as_for_any_model(outer, inner):
    outer.init_weights()
    assert inner.is_init
    assert not hasattr(outer, '_params_init_info')
