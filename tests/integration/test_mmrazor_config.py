"""Files of an MMRazor user, given to our tools as they are."""

import json

import pytest
import torch
from mmengine.config import Config

TRAIN = """
_base_ = [{dense!r}]

architecture = dict(_scope_='mmcls', **_base_.model)
architecture['backbone']['depth'] = 8
model = dict(
    _delete_=True,
    _scope_='mmrazor',
    type='DCFF',
    architecture=architecture,
    mutator_cfg=dict(
        type='DCFFChannelMutator',
        channel_unit_cfg=dict(
            type='DCFFChannelUnit', default_args=dict(choice_mode='ratio')),
        parse_cfg=dict(
            type='ChannelAnalyzer',
            demo_input=(1, 3, 32, 32),
            tracer_type='BackwardTracer')),
    data_preprocessor=None,
    target_pruning_ratio={{'backbone.layer1.0.conv1_(0, 16)_16': 0.5}},
    step_freq=1,
    linear_schedule=False)
val_cfg = dict(_delete_=True, type='mmrazor.ItePruneValLoop')
"""

COMPACT = """
_base_ = ['train.py']

_base_.model = dict(
    _scope_='mmrazor',
    type='sub_model',
    cfg=_base_.architecture,
    fix_subnet={subnet!r},
    mode='mutator',
    init_cfg=dict(type='Pretrained', checkpoint={weights!r}))
"""

FEW = (
    '--cfg-options',
    'train_cfg.max_epochs=2',
    'train_dataloader.dataset.indices=128',
    'val_dataloader.dataset.indices=50',
    'test_dataloader.dataset.indices=50',
)


@pytest.fixture
def trained(tmp_path, call, tool):
    """A folder with the two configs, and what training left."""
    dense = tool.ROOT / 'configs' / 'demo' / 'dense_resnet20_digits.py'
    subnet, weights = (
        str(tmp_path / 'run' / f'fix_subnet{end}') for end in ('.json', '_weight.pth')
    )
    (tmp_path / 'train.py').write_text(TRAIN.format(dense=str(dense)))
    (tmp_path / 'compact.py').write_text(COMPACT.format(subnet=subnet, weights=weights))
    call('train', tmp_path / 'train.py', '--work-dir', tmp_path / 'run', *FEW)
    return tmp_path


def accuracy(folder):
    """What the last evaluation of a work dir found."""
    (log,) = sorted(folder.rglob('*.json'), key=lambda p: p.stat().st_mtime)[-1:]
    return json.loads(log.read_text().splitlines()[-1])['accuracy/top1']


def test_train_export_and_test(trained, call):
    state = torch.load(trained / 'run' / 'epoch_2.pth', weights_only=True)['state_dict']
    assert int(state['fuse_steps']) == 2
    assert state['architecture.backbone.layer1.0.conv1.proxies'].shape == (8, 16)
    # What the loop left, in MMRazor's config for it.
    call('test', trained / 'compact.py', '--work-dir', trained / 'compact', *FEW[:1], FEW[-1])
    by_loop = accuracy(trained / 'compact')
    # What the tool exports.
    call('export', trained / 'train.py', trained / 'run' / 'epoch_2.pth', '--out', trained / 'out')
    exported = Config.fromfile(trained / 'out' / 'compact.py')
    assert exported.model._scope_ == 'mmcompress.core.export'
    call('test', trained / 'out' / 'compact.py', '--work-dir', trained / 'own', *FEW[:1], FEW[-1])
    assert by_loop == accuracy(trained / 'own')
    one, other = (
        torch.load(file, weights_only=True)['state_dict']
        for file in (trained / 'run' / 'fix_subnet_weight.pth', trained / 'out' / 'compact.pth')
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
