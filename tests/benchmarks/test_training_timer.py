"""report/training_timer.py: what a timed step of training is."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from torch import nn
from training_timer import compare_training, training_step

from mmcompress.core import CompressionError
from mmcompress.core.probe.demo_inputs import demo_batch


@pytest.fixture
def algorithm(classifier_cfg):
    return MODELS.build(
        dict(type='mmcompress.DCFF', architecture=classifier_cfg(8), target_pruning_ratio=0.5)
    )


def test_a_row(algorithm, classifier_cfg):
    dense = MODELS.build(classifier_cfg(8))
    before = {key: value.clone() for key, value in dense.named_parameters()}
    row = compare_training(dense, algorithm, (2, 3, 16, 16), repeats=2, warmup=1, threads=1)
    parts = ('{}_ms', '{}_ratio', '{}_iqr', '{}_mean_ratio', 'dense_{}_ms')
    assert set(row) == {part.format(name) for name in ('train', 'eval') for part in parts}
    assert all(value >= 0 for value in row.values())
    assert algorithm.fuse_steps == 1  # once an epoch
    # Both have trained, to no avail, and evaluation is no training.
    assert dense.training
    assert algorithm.training
    assert dense.backbone.bn1.num_batches_tracked == 3
    for key, value in dense.named_parameters():
        assert torch.equal(value, before[key])


def test_a_step_is_one_of_the_optimizer(algorithm, monkeypatch):
    times, graded = [], []
    monkeypatch.setattr(algorithm, 'tick', lambda clock: times.append(clock.iteration))
    parameters = list(algorithm.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    optimizer.register_step_pre_hook(
        lambda *_: graded.append(sum(p.grad is not None for p in parameters))
    )
    step = training_step(algorithm.eval(), OptimWrapper(optimizer))
    batch = demo_batch(algorithm.architecture, (2, 3, 16, 16), 'loss')
    with torch.no_grad():  # as compare_latency calls it
        step(*batch)
        step(*batch)
    assert algorithm.training
    assert times == [0, 1]
    assert len(graded) == 2
    assert graded[0] > len(parameters) // 2
    assert all(p.grad is None for p in parameters)


def test_the_optimizer_of_the_config(algorithm, monkeypatch):
    seen = []
    monkeypatch.setattr(algorithm, 'start', lambda wrapper: seen.append(wrapper))
    config = dict(
        type='AmpOptimWrapper',
        loss_scale='dynamic',
        optimizer=dict(type='Adam', lr=1e-3),
        clip_grad=dict(max_norm=1),
    )
    compare_training(algorithm.architecture, algorithm, (2, 3, 16, 16), config, 1, 0)
    assert type(seen[0]) is OptimWrapper
    assert isinstance(seen[0].optimizer, torch.optim.Adam)
    assert seen[0].clip_grad_kwargs == dict(max_norm=1)


def test_a_wrong_optimizer(algorithm):
    config = dict(optimizer=dict(type='NoSuchOptimizer'))
    with pytest.raises(CompressionError, match='optim_wrapper: .*NoSuchOptimizer.* cannot be'):
        compare_training(algorithm.architecture, algorithm, (2, 3, 8, 8), config)


def test_a_model_without_a_clock():
    class Plain(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, inputs, data_samples=None, mode='tensor'):
            return dict(loss=self.layer(inputs).sum())

    model = Plain()
    step = training_step(model, OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0)))
    step(torch.ones(1, 2), None)
    assert model.layer.weight.grad is None
