"""core/checkpoint.py: what loads, what is refused, and that nothing is run."""

import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from mmcompress.core import CompressionError
from mmcompress.core.export.checkpoint import (
    check_belongs,
    check_fits,
    load_checkpoint_file,
    load_into,
)


def net(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))


class Malicious:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def test_a_checkpoint_and_a_bare_state_dict(tmp_path):
    model = net()
    torch.save(dict(meta=dict(epoch=3), state_dict=model.state_dict()), tmp_path / 'a.pth')
    torch.save(model.state_dict(), tmp_path / 'b.pth')
    for name in ('a.pth', 'b.pth'):
        other = net()
        content = load_into(other, tmp_path / name)
        assert content.get('meta', dict(epoch=3)) == dict(epoch=3)
        for key, value in model.state_dict().items():
            assert torch.equal(other.state_dict()[key], value)


def test_saved_by_a_distributed_run(tmp_path):
    model, other = net(), net()
    state = {f'module.{key}': value for key, value in model.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    load_into(other, tmp_path / 'a.pth')
    assert torch.equal(other[0].weight, model[0].weight)
    check_fits(model, state, 'a.pth')
    check_belongs(model, state, 'a.pth')


@pytest.mark.parametrize('legacy', [True, False])
def test_code_in_a_checkpoint_is_not_run(tmp_path, legacy):
    path, mark = tmp_path / 'bad.pth', tmp_path / 'executed'
    content = dict(state_dict=net().state_dict(), meta=Malicious(mark))
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CompressionError, match='more than weights') as error:
        load_checkpoint_file(path)
    assert '\n' not in str(error.value)
    assert str(path) in str(error.value)
    assert not mark.exists()


def test_a_plain_pickle_is_not_run(tmp_path):
    path, mark = tmp_path / 'bad.pth', tmp_path / 'executed'
    path.write_bytes(pickle.dumps(Malicious(mark)))
    with pytest.raises(CompressionError):
        load_checkpoint_file(path)
    assert not mark.exists()


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(CompressionError, match='there is no file'):
        load_checkpoint_file(tmp_path / 'missing.pth')
    with pytest.raises(CompressionError, match='there is no file'):
        load_checkpoint_file(tmp_path)
    path = tmp_path / 'x.pth'
    torch.save(net().state_dict(), path)
    whole = path.read_bytes()
    contents = [b'', b'hello', b'\x80\x02.', whole[: len(whole) // 2], whole[:-30]]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(CompressionError, match='^checkpoint: '):
            load_checkpoint_file(path)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('hello.txt', 'hello')
    with pytest.raises(CompressionError, match='is not a checkpoint'):
        load_checkpoint_file(path)


@pytest.mark.parametrize(
    'content',
    [
        [1, 2],
        torch.zeros(2),
        3,
        {1: torch.zeros(2)},
        dict(state_dict=[torch.zeros(2)]),
        dict(state_dict=None),
        dict(state_dict=dict(weight=3)),
        dict(epoch=3),
    ],
    ids=str,
)
def test_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(CompressionError, match='holds no state_dict'):
        load_checkpoint_file(tmp_path / 'x.pth')


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda s: s.pop('1.weight'), r'1\.weight is missing \(1 missing, 0 unknown'),
        (lambda s: s.update(extra=torch.zeros(1)), r'extra is unknown \(0 missing, 1 unknown'),
        (
            lambda s: s.update({'0.weight': torch.zeros(5, 3, 1, 1)}),
            r'0\.weight is \(5, 3, 1, 1\), not \(4, 3, 1, 1\) .* 1 of another shape',
        ),
    ],
)
def test_a_checkpoint_of_another_model(tmp_path, change, says):
    model = net()
    before = model[0].weight.clone()
    state = {key: value + 1 for key, value in net().state_dict().items()}
    change(state)
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(CompressionError, match=says):
        load_into(model, tmp_path / 'a.pth')
    assert torch.equal(model[0].weight, before)


def test_fine_tuning_may_swap_a_head():
    backbone = dict(net().state_dict())
    check_belongs(nn.Sequential(*net(), nn.Linear(4, 2)), backbone, 'a.pth')
    with pytest.raises(CompressionError, match='load_from: .* only 0 of 2 tensors fit'):
        check_belongs(nn.Linear(2, 2), backbone, 'a.pth')
