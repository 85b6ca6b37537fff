"""Bad input: one sentence, exit status 2, no traceback, and nothing is written."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.device import get_device
from mmengine.logging import MMLogger

from mmcompress.cli.launch import run

DENSE = 'configs/demo/dense_resnet20_digits.py'


class _RunsCode:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding='utf-8')
    return path


def _target(value: str) -> list[str]:
    return ['train', '{demo}', '--cfg-options', f'model.target_pruning_ratio={value}']


UNIT = 'backbone.layer1.0.conv1_(0, 16)_16'

CASES = {
    'misspelled unit': (
        ['train', '{config_typo}'],
        ['target_pruning_ratio', 'backbone.layr1.0.conv1', UNIT],
    ),
    'ratio 0': (_target('0'), ['target_pruning_ratio is 0', 'above 0 and at most 1']),
    'ratio 1.2': (_target('1.2'), ['target_pruning_ratio is 1.2', 'above 0 and at most 1']),
    'ratio a': (['train', '{config_a}'], [UNIT, "'a'", 'above 0 and at most 1']),
    'JSON cut off': (_target('{cut}'), ['cut.json', 'not a complete JSON']),
    'JSON of another model as ratios': (_target('{other}'), ['layer9', 'matches no']),
    'JSON of another model as units': (
        ['train', '{demo}', '--cfg-options', 'model.mutator_cfg.type=DCFFMutator',
         'model.mutator_cfg.channel_unit_cfg={other}'],
        ['backbone.layer9.0.conv1', 'another model'],
    ),
    'JSON missing': (_target('{tmp}/none.json'), ['there is no file', 'none.json']),
    'checkpoint missing': (
        ['export', '{demo}', '{tmp}/none.pth', '--out', '{out}'], ['there is no file', 'none.pth'],
    ),
    'checkpoint missing for resume': (
        ['train', '{demo}', '--resume', '{tmp}/none.pth'], ['there is no file', 'none.pth'],
    ),
    'checkpoint of another model': (
        ['export', '{demo}', '{foreign}', '--out', '{out}'], ['of another model', 'missing'],
    ),
    'checkpoint of another model in a test': (
        ['test', '{demo}', '{foreign}'], ['of another model', 'missing'],
    ),
    'checkpoint of another model to start from': (
        ['train', '{demo}', '--cfg-options', 'load_from={foreign}'], ['of another model'],
    ),
    'pickle that runs code': (
        ['export', '{demo}', '{pickle}', '--out', '{out}'], ['was not loaded'],
    ),
    'pickle that runs code, to start from': (
        ['train', '{demo}', '--cfg-options', 'load_from={pickle}'], ['was not loaded'],
    ),
    'no checkpoint at all': (
        ['export', '{demo}', '{cut}', '--out', '{out}'], ['cut.json', 'checkpoint'],
    ),
    'no part that can be narrowed': (
        ['train', '{headless}'], ['no channel unit of OneConvolution', 'stem_(0, 8)_8'],
    ),
    'no part that can be narrowed, units': (
        ['get_channel_units', '{headless}', '-o', '{out}'], ['no channel unit', 'stem_(0, 8)_8'],
    ),
    'config missing': (['train', 'nowhere.py'], ['there is no file', 'nowhere.py']),
    'config with an error': (['train', '{broken}'], ['broken.py', 'cannot be read']),
    'model without parameters': (
        ['train', 'configs/demo/bicubic_x2_photos.py'], ['the model', 'mmcompress test'],
    ),
    'unknown type': (
        ['train', '{demo}', '--cfg-options', 'model.type=mmcompress.DCF'],
        ["no type 'mmcompress.DCF'", "'DCFF'"],
    ),
    'unknown argument': (
        ['train', '{demo}', '--cfg-options', 'model.fuse_intervall=2'], ['fuse_intervall'],
    ),
    'wrong interval': (
        ['train', '{demo}', '--cfg-options', 'model.fuse_interval=0'],
        ['fuse_interval is 0', 'positive integer'],
    ),
    'method file without a method': (
        ['train', DENSE, '--compress', DENSE], ['has no `compression`', 'configs/_base_/methods'],
    ),
    'compressed twice': (
        ['train', '{demo}', '--compress', 'configs/_base_/methods/dcff_r50.py'], ['already'],
    ),
    'export of a dense model': (
        ['export', DENSE, '{foreign}', '--out', '{out}'], ['not a compression algorithm'],
    ),
    'mixed precision on a CPU': (['train', '{demo}', '--amp'], ['--amp needs an accelerator']),
    'option into a number': (
        ['train', '{demo}', '--cfg-options', 'model.fuse_interval.x=1'],
        ['--cfg-options', 'fuse_interval'],
    ),
    'data that is not there': (
        ['train', '{demo}', '--cfg-options', 'train_dataloader.dataset.split=trian'],
        ['the data cannot be loaded', 'trian'],
    ),
    'budget that is out of reach': (
        ['get_channel_units', DENSE, '-o', '{out}', '--target', 'macs=0.001'],
        ['budget.macs', 'the smallest that can be reached'],
    ),
    'output is another file': (
        ['get_channel_units', '{demo}', '-o', '{broken}'], ['broken.py', '--out'],
    ),
    'output is a folder': (['get_channel_units', '{demo}', '-o', '{tmp}'], ['directory']),
    'shape': (['get_flops', '{demo}', '--shape', '0'], ['--shape is 0']),
}  # fmt: skip


ONE_CONVOLUTION = """
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

@MODELS.register_module()
class OneConvolution(BaseModel):
    def __init__(self, data_preprocessor=None):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.stem(inputs)
"""


@pytest.fixture(scope='module')
def files(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Everything that can be wrong, by the name that stands for it in ``CASES``."""
    tmp = tmp_path_factory.mktemp('bad')
    demo = (tool.ROOT / tool.DEMO).resolve()
    torch.save({'state_dict': {'fc.weight': torch.zeros(2, 2)}}, tmp / 'foreign.pth')
    with (tmp / 'pickle.pth').open('wb') as file:
        pickle.dump({'state_dict': _RunsCode(tmp / 'executed')}, file)
    layer = dict(name='backbone.layer9.0.conv1', start=0, end=16, is_output_channel=True)
    unit = dict(
        init_args=dict(num_channels=16),
        channels=dict(input_related=[], output_related=[layer]),
        choice=0.5,
    )
    units = {'backbone.layer9.0.conv1_(0, 16)_16': unit}
    other = json.dumps(dict(channel_unit_cfg=dict(units=units)))
    ratio = (
        "_base_ = ['{}']\nmodel = dict(target_pruning_ratio=dict(_delete_=True, **{{{!r}: {!r}}}))"
    )
    headless = (
        f"_base_ = ['{demo}']\n"
        "model = dict(architecture=dict(_delete_=True, type='mmengine.OneConvolution'))\n"
        "custom_imports = dict(imports=['one_convolution'], allow_failed_imports=False)\n"
    )
    _write(tmp / 'one_convolution.py', ONE_CONVOLUTION)
    return dict(
        tmp=str(tmp),
        demo=str(demo),
        config_typo=str(
            _write(tmp / 'typo.py', ratio.format(demo, 'backbone.layr1.0.conv1_(0, 16)_16', 0.5))
        ),
        config_a=str(_write(tmp / 'a.py', ratio.format(demo, UNIT, 'a'))),
        cut=str(_write(tmp / 'cut.json', other[:-20])),
        other=str(_write(tmp / 'other.json', other)),
        foreign=str(tmp / 'foreign.pth'),
        pickle=str(tmp / 'pickle.pth'),
        headless=str(_write(tmp / 'headless.py', headless)),
        broken=str(_write(tmp / 'broken.py', 'model = dict(\n')),
    )


#: A case of each tool that is run as a user runs it; the others in this process, which is faster.
AS_A_USER = (
    'misspelled unit',
    'checkpoint missing',
    'shape',
    'output is another file',
    'output is a folder',
    'budget that is out of reach',
)


@pytest.mark.parametrize(
    'name', [name for name in CASES if 'CPU' not in name or get_device() == 'cpu']
)
def test_one_sentence(
    tool: ModuleType,
    files: dict[str, str],
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    (script, *arguments), expected = CASES[name]
    out = tmp_path / 'out'
    filled = [argument.format(out=out, **files) for argument in arguments]
    if script in ('train', 'test'):
        filled[1:1] = ['--work-dir', str(out)] if script == 'train' else []
        filled += ['--work-dir', str(out)] if script == 'test' else []
    if name in AS_A_USER:
        done = tool.run_tool(script, *filled)
        status, text, said = done.returncode, done.stdout, done.stderr
    else:
        monkeypatch.chdir(tool.ROOT)
        monkeypatch.syspath_prepend(files['tmp'])
        monkeypatch.setattr('sys.argv', [f'{script}.py', *filled])
        # Loggers keep the stream that they were made with, and this test's ends with it.
        monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())
        with pytest.raises(SystemExit) as ended:
            run(tool.module(script).main)
        status, (text, said) = ended.value.code, capsys.readouterr()
    assert status == 2, text[-1000:] + said[-3000:]
    assert 'Traceback' not in text + said
    errors = [line for line in said.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1, said
    for part in expected:
        assert part in errors[0]
    # mmengine's runner makes its work dir before it looks at the data.
    assert not out.exists() or name == 'data that is not there', 'something was written'
    assert not Path(files['tmp'], 'executed').exists(), 'the pickle was run'
