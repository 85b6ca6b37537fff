"""cli/convert.py: what all layouts share, from files to the account of keys."""

import io
import json
import pickle
import tarfile

import pytest
import torch
from torch import nn

from mmcompress.cli import convert as verb
from mmcompress.core.errors import CompressionError
from mmcompress.core.export.convert import RESAVE, Conversion, Source, kind_of, read_source

CONFIG = 'pruning/mmcls/linear_conv/linear_conv_linear_base_250e_cifar10.py'
DCFF = 'pruning/mmcls/dcff/dcff_resnet56_300e_cifar10.py'


def base():
    """The state of LinearConv's Base, as its authors' program names it."""
    state, c = {}, 3
    for i, n in enumerate((32, 64, 128, 256)):
        state[f'feat.{i}.0.conv_weights'] = torch.randn(n // 2, c, 3, 3)
        state[f'feat.{i}.0.linear_weights'] = torch.randn(n // 2, n // 2)
        state[f'feat.{i}.0.bias'] = torch.randn(n)
        for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
            state[f'feat.{i}.1.{leaf}'] = torch.rand(n)
        c = n
    return {**state, 'fc.weight': torch.randn(10, 1024), 'fc.bias': torch.randn(10)}


def test_every_layout_has_a_file():
    names = ('dcff', 'fcf', 'filter_basis', 'linear_conv', 'mmrazor', 'shared_basis')
    assert tuple(sorted(verb.layouts())) == names


def test_the_account(runs, capsys):
    state = base()
    del state['feat.0.1.running_var']
    state['feat.0.1.running_var'] = torch.rand(32)
    source = runs.save(dict(model_state_dict=state, epoch=3))
    result = runs.run('linear_conv', source, runs.config(CONFIG))
    assert [row['key'] for row in result['keys']] == list(state)
    row = next(row for row in result['keys'] if row['key'] == 'feat.1.0.linear_weights')
    assert row == dict(
        key='feat.1.0.linear_weights',
        shape=[32, 32],
        becomes='backbone.stage2.conv1.combination',
        how='renamed, as one set',
    )
    json.dumps(result)
    verb.show(result)
    shown = capsys.readouterr().out
    assert f'{len(state)} of {len(state)} tensors used' in shown
    saved = torch.load(runs.folder / 'ours.pth', weights_only=True)
    assert saved['meta']['layout'] == 'linear_conv'


def test_what_is_there_is_not_replaced(runs):
    source, words = runs.save(base()), runs.config(CONFIG)
    (runs.folder / 'ours.pth').write_bytes(b'mine')
    with pytest.raises(CompressionError, match='ours.pth.* exists'):
        runs.run('linear_conv', source, words)
    assert (runs.folder / 'ours.pth').read_bytes() == b'mine'
    runs.run('linear_conv', source, [*words, '--overwrite'])
    runs.ours()
    (runs.folder / 'export').mkdir()
    with pytest.raises(CompressionError, match='export.* exists'):
        runs.run('linear_conv', source, [*words, '--compact'], 'export')
    assert not list((runs.folder / 'export').iterdir())


WRONG = {
    'dcff': {'layer1.0.conv1.layeri_softmaxP': (8, 16)},
    'fcf': {'layer1.0.left.0.v': (16,)},
    'filter_basis': {'features.1.0.body.0.conv.0.basis_weight': (24, 16, 3, 3)},
    'shared_basis': {'layer1.1.shared_basis_1.weight': (16, 16, 3, 3)},
    'linear_conv': {'feat.0.0.conv_weights': (16, 3, 3, 3)},
    'mmrazor': {'mutator.units.0.mutable_channel.mask': (4,)},
}


@pytest.mark.parametrize('other', WRONG)
def test_a_file_of_another_layout(runs, other):
    layout = 'fcf' if other == 'dcff' else 'dcff'
    source = runs.save({key: torch.zeros(shape) for key, shape in WRONG[other].items()})
    with pytest.raises(CompressionError, match=f'--from {layout}: .*--from {other}'):
        runs.run(layout, source, runs.config(DCFF))
    assert not (runs.folder / 'ours.pth').exists()


def test_a_config_of_another_method(runs):
    source = runs.save(base())
    with pytest.raises(CompressionError, match="'backbone.layer1.0.conv1'|has no place|missing"):
        runs.run('linear_conv', source, runs.config(DCFF))
    with pytest.raises(CompressionError, match='--compact: the model of CONFIG is dense'):
        words = runs.config('dense/dense_base_250e_cifar10.py')
        plain = {k: v for k, v in base().items() if '.0.' not in k[6:]}
        widths, c = (32, 64, 128, 256), 3
        for i, n in enumerate(widths):
            plain[f'feat.{i}.0.weight'] = torch.randn(n, c, 3, 3)
            plain[f'feat.{i}.0.bias'] = torch.randn(n)
            c = n
        source = runs.save(plain)
        runs.run('linear_conv', source, words)  # dense networks of theirs are read as well
        runs.run('linear_conv', source, [*words, '--compact'], 'export')


# Files that are not read


def test_a_tar_file(tmp_path):
    path = tmp_path / 'old.pth.tar'
    with tarfile.open(path, 'w') as tar:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            content = pickle.dumps(0)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(CompressionError, match='before 0.1.10') as error:
        read_source(path)
    assert RESAVE in str(error.value)


class Meter:
    """What an old program may have saved beside its tensors."""


@pytest.mark.parametrize('content', [b'\x80\x02}q\x00.', b'not a checkpoint'])
def test_what_is_no_checkpoint(tmp_path, content):
    path = tmp_path / 'x.pkl'
    path.write_bytes(content)
    with pytest.raises(CompressionError, match=r'x.pkl'):
        read_source(path)


def test_a_file_that_would_run_code(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(dict(state_dict=dict(a=torch.ones(1)), meter=Meter()), path)
    with pytest.raises(CompressionError, match='Meter') as error:
        read_source(path)
    assert RESAVE in str(error.value)


def test_files_without_tensors(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(dict(epoch=3, best=[1.0]), path)
    with pytest.raises(CompressionError, match="no tensors by name.*'epoch', 'best'"):
        read_source(path)
    with pytest.raises(CompressionError, match='there is no file'):
        read_source(tmp_path / 'nowhere.pth')


def test_strings_of_python_2(tmp_path):
    """Old files load: names in them are byte strings, and the format is the one before zip."""
    path = tmp_path / 'x.pth'
    state = {'module.layer': torch.arange(3.0)}
    torch.save(dict(state_dict=state, epoch=2), path, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    for word in (b'module.layer', b'state_dict', b'epoch'):
        new = b'X' + len(word).to_bytes(4, 'little') + word
        assert new in raw
        raw = raw.replace(new, b'U' + bytes([len(word)]) + word)
    path.write_bytes(raw)
    source = read_source(path)
    assert source.extra == dict(epoch=2)
    assert torch.equal(source.state['layer'], state['module.layer'])


# The account itself


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.PReLU()
        self.again = self.act
        self.conv = nn.Conv2d(2, 3, 1)
        self.bn = nn.BatchNorm2d(3)


def test_names_of_shared_modules_and_counters_that_are_missing():
    state = {k: v + 1 for k, v in Net().state_dict().items() if k != 'bn.num_batches_tracked'}
    state = {k: v for k, v in state.items() if not k.startswith('again')}
    network = Net()
    conversion = Conversion(Source('x', state), network)
    for name in ('act', 'conv', 'bn'):
        conversion.plain(name, name)
    rows = conversion.finish()
    assert {row['how'] for row in rows} == {'as it is'}
    assert torch.equal(network.again.weight, state['act.weight'])
    assert int(network.bn.num_batches_tracked) == 0


def test_everything_that_does_not_fit_is_counted():
    state = {**Net().state_dict(), 'conv.weight': torch.ones(3, 2, 3, 3), 'more': torch.ones(1)}
    del state['bn.bias'], state['again.weight']
    conversion = Conversion(Source('x.pth', state), Net())
    for name in ('act', 'conv', 'bn'):
        conversion.plain(name, name)
    with pytest.raises(CompressionError) as error:
        conversion.finish()
    said = str(error.value)
    for part in ("'x.pth'", 'Net', "'bn.bias' is missing", "'more' has no place", '(3, 2, 3, 3)'):
        assert part in said
    assert '1 missing, 1 left over, 1 that do not fit' in said


def test_kinds():
    marks = dict(one=r'\.v$', two=r'^left')
    assert kind_of(['a.v', 'left'], marks) == 'one'
    assert kind_of(['a.vv'], marks) == ''
