"""compat/checkpoints.py: mmengine's training checkpoints load, and code in a file does not run."""

import io
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmcompress import compat

compat.apply()

from mmengine.model import BaseModel  # noqa: E402  (torchvision, see compat/torchvision_ops.py)
from mmengine.runner import Runner, load_checkpoint  # noqa: E402


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, data, mode='loss'):
        out = self.norm(self.linear(data))
        return {'loss': out.square().mean()}

    def train_step(self, data, optim_wrapper):
        losses = self(data)
        optim_wrapper.update_params(losses['loss'])
        return losses


def make_runner(folder, epochs, resume):
    return Runner(
        Model(),
        str(folder),
        train_dataloader={
            'batch_size': 2,
            'sampler': {'type': 'DefaultSampler', 'shuffle': True},
            'dataset': [torch.randn(2) for _ in range(8)],
            'collate_fn': {'type': 'default_collate'},
        },
        train_cfg={'by_epoch': True, 'max_epochs': epochs},
        optim_wrapper={'type': 'OptimWrapper', 'optimizer': {'type': 'Adam', 'lr': 0.01}},
        param_scheduler=[
            {'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': False, 'end': 3},
            {'type': 'MultiStepLR', 'milestones': [1]},
        ],
        resume=resume,
        default_scope='mmengine',
        log_level='ERROR',
        experiment_name=f'{folder.name}-{epochs}',
    )


def test_a_real_run_resumes(tmp_path):
    first = make_runner(tmp_path, 1, resume=False)
    first.message_hub.update_info('palette', np.arange(3, dtype=np.float32))
    first.train()
    second = make_runner(tmp_path, 2, resume=True)
    second.load_or_resume()
    assert (second.epoch, second.iter) == (1, 4)
    for ours, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    state = [r.optim_wrapper.optimizer.state_dict()['state'][0]['exp_avg'] for r in (first, second)]
    assert torch.equal(*state)
    assert [s.last_step for s in second.param_schedulers] == [
        s.last_step for s in first.param_schedulers
    ]
    log = second.message_hub.get_scalar('train/loss')
    assert isinstance(log, HistoryBuffer)
    assert log.data[0].tolist() == first.message_hub.get_scalar('train/loss').data[0].tolist()
    assert log.mean() == log.statistics('mean')
    assert second.message_hub.get_info('palette').tolist() == [0, 1, 2]
    second.train()
    assert second.iter == 8
    load_checkpoint(Model(), str(tmp_path / 'epoch_2.pth'))


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize(
    'crafted',
    [
        lambda marker: Call(os.mkdir, marker),
        lambda marker: Call(eval, f'__import__("os").mkdir({marker!r})'),
        lambda marker: Call(getattr, HistoryBuffer, '__init__'),
        lambda marker: Call(getattr, HistoryBuffer, 'register_statistics'),
        lambda marker: Call(getattr, np.ndarray, 'tofile'),
        lambda marker: np.array([Call(os.mkdir, marker)], dtype=object),
    ],
)
def test_a_file_that_wants_more_is_refused(tmp_path, crafted):
    marker, file = tmp_path / 'executed', tmp_path / 'crafted.pth'
    torch.save({'state_dict': {}, 'meta': crafted(str(marker))}, file)
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(Model(), str(file))
    assert not marker.exists()


@pytest.mark.parametrize('home', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_arrays_saved_under_either_numpy_load(home):
    here = np.zeros(1).__reduce__()[0].__module__
    value = [np.arange(3.0), np.arange(2), np.float32(1.5), np.array([True])]
    saved = pickle.dumps(value, protocol=2).replace(f'c{here}\n'.encode(), f'c{home}\n'.encode())
    assert home.encode() in saved
    loaded = torch._weights_only_unpickler.load(io.BytesIO(saved))
    for ours, theirs in zip(loaded, value, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
