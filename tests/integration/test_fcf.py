"""FCF through the tools: three stages in one command, killed and resumed; two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
import torch

import mmcompress  # noqa: F401  (registers what checkpoints may hold)

# isort: split
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS

from mmcompress.core import Clock, CompressionError
from mmcompress.report import read_progress

CONFIG = 'configs/demo/fcf_resnet20_digits.py'
EPOCHS = 6
#: A network of 8 layers, two batches an epoch.
SMALL = (
    'train_dataloader.dataset.indices=128',
    'val_dataloader.dataset.indices=50',
    'test_dataloader.dataset.indices=50',
    'dense.model.backbone.depth=8',
    'factorize.model.architecture.backbone.depth=8',
    'finetune.model.architecture.backbone.depth=8',
    'dense.train_cfg.max_epochs=2',
    f'factorize.train_cfg.max_epochs={EPOCHS}',
    'finetune.train_cfg.max_epochs=1',
    'finetune.optim_wrapper.optimizer.weight_decay=0.01',
)
STAGES = ('dense', 'factorize', 'finetune')


def _state(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def _kill(tool: ModuleType, folder: Path) -> None:
    """Start all stages, and kill the second after its first epoch."""
    process = subprocess.Popen(
        tool.command('train', CONFIG, '--work-dir', folder, '--cfg-options', *SMALL),
        cwd=tool.ROOT,
        env=tool.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not (folder / 'factorize' / 'last_checkpoint').is_file():
        assert process.poll() is None, 'training ended before it could be killed'
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = folder / 'factorize' / f'epoch_{EPOCHS}.pth'
    assert not last.exists(), 'killed too late to prove anything'


@pytest.fixture(scope='module')
def runs(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """All stages without a break, and killed in the second of them and resumed."""
    whole, killed = (tmp_path_factory.mktemp('fcf') / name for name in ('whole', 'killed'))

    def resume() -> None:
        _kill(tool, killed)
        os.utime(killed / 'dense' / 'epoch_2.pth', (1, 1))
        arguments = ('--work-dir', killed, '--resume', '--cfg-options', *SMALL)
        tool.succeed('train', CONFIG, *arguments)

    def train() -> None:
        tool.succeed('train', CONFIG, '--work-dir', whole, '--cfg-options', *SMALL)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(train), pool.submit(resume)]:
            future.result()
    return whole, killed


@pytest.mark.parametrize(('stage', 'name'), [('factorize', EPOCHS), ('finetune', 1)])
def test_killed_and_resumed_equals_uninterrupted(
    runs: tuple[Path, Path], stage: str, name: int
) -> None:
    """Weights, duals, penalty, projections, optimizer and schedules, bit for bit."""
    one, other = (_state(folder / stage / f'epoch_{name}.pth') for folder in runs)
    state = one['state_dict']
    assert state.keys() == other['state_dict'].keys()
    assert {f'admm.{key}' for key in ('y1', 'y2', 'z1', 'z2', 'rho')} <= state.keys()
    for key, value in state.items():
        assert torch.equal(value, other['state_dict'][key]), key
    for part in ('optimizer', 'param_schedulers'):
        assert repr(one[part]) == repr(other[part])
    assert float(state['admm.rho']) == pytest.approx(0.01 * 1.05 ** (2 * EPOCHS), rel=1e-6)
    assert state['admm.y1'].any()


def test_resuming_skips_what_is_over(runs: tuple[Path, Path]) -> None:
    whole, killed = runs
    assert (killed / 'dense' / 'epoch_2.pth').stat().st_mtime == 1, 'trained again'
    starts = [len(list((killed / stage).glob('*/vis_data'))) for stage in STAGES]
    assert starts == [1, 2, 1]


def test_each_stage_starts_from_the_one_before(runs: tuple[Path, Path]) -> None:
    whole, _ = runs
    first = _state(whole / 'factorize' / 'epoch_1.pth')['state_dict']
    dense = _state(whole / 'dense' / 'epoch_2.pth')['state_dict']
    moved = first['architecture.backbone.conv1.weight'] - dense['backbone.conv1.weight']
    # Two steps away, where two random networks would be far apart.
    assert moved.norm() < 0.3 * dense['backbone.conv1.weight'].norm()
    last = _state(whole / 'finetune' / 'epoch_1.pth')['state_dict']
    before = _state(whole / 'factorize' / f'epoch_{EPOCHS}.pth')['state_dict']
    vs = [key for key in last if key.endswith('.v')]
    assert len(vs) == 6
    assert last['binary']
    assert not before['binary']
    for key in vs:
        k = len(last[key]) // 2
        ordered = before[key].sort(descending=True).values
        # Between these, scalars have not decided (so short is training).
        assert last[key][before[key] > ordered[k] + 0.1].all()
        assert not last[key][before[key] < ordered[k - 1] - 0.1].any()
        assert last[key].sum() == k
        assert set(last[key].tolist()) == {0, 1}


def test_the_exported_network_scores_as_the_trained_one(runs: tuple[Path, Path]) -> None:
    whole, killed = runs
    for folder in runs:
        assert (folder / 'export' / 'compact.pth').is_file()
    one, other = (_state(folder / 'export' / 'compact.pth')['state_dict'] for folder in runs)
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert one['backbone.layer1.0.conv1.weight'].shape == (8, 16, 3, 3)
    lines = next((whole / 'finetune').glob('*/vis_data/scalars.json')).read_text().splitlines()
    trained = next(json.loads(line) for line in lines[::-1] if 'accuracy' in line)
    (tested,) = (whole / 'test').glob('*/*.json')
    assert json.loads(tested.read_text())['accuracy/top1'] == trained['accuracy/top1'] > 0


def test_progress_and_its_picture(
    tool: ModuleType, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = runs
    rows = read_progress(whole / 'factorize')
    assert [row['epoch'] for row in rows] == list(range(1, EPOCHS + 1))
    assert read_progress(killed / 'factorize') == rows
    assert all(row['filters'] == sum(row['histogram']) == 224 for row in rows)
    assert rows[-1]['rho'] == pytest.approx(0.01 * 1.05 ** (2 * EPOCHS), rel=1e-6)
    plot = tool.module('plot')
    monkeypatch.setattr(sys, 'argv', ['plot.py', str(whole / 'factorize')])
    plot.main()
    assert (whole / 'factorize' / 'progress.png').read_bytes().startswith(b'\x89PNG')
    for folder in (whole, whole / 'dense', whole / 'nowhere'):
        monkeypatch.setattr(sys, 'argv', ['plot.py', str(folder)])
        with pytest.raises(CompressionError, match='work_dir: '):
            plot.main()
    # The second stage changes no scalars.
    with pytest.raises(CompressionError, match='no \\*/progress.jsonl'):
        read_progress(whole / 'finetune')


def test_exporting_too_early(tool: ModuleType, runs: tuple[Path, Path], tmp_path: Path) -> None:
    done = tool.run_tool(
        'export',
        'configs/demo/fcf_resnet20_digits_factorize.py',
        runs[0] / 'factorize' / 'epoch_1.pth',
        '--out',
        tmp_path / 'out',
        '--cfg-options',
        'model.architecture.backbone.depth=8',
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert 'error: FCF cannot be exported: its scalars are not binary yet' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'out').exists()


def test_resuming_stages_from_a_file(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tool.ROOT)
    out = str(tmp_path / 'out')
    arguments = ['train.py', CONFIG, '--resume', 'x.pth', '--work-dir', out]
    monkeypatch.setattr(sys, 'argv', arguments)
    with pytest.raises(CompressionError, match="--resume is 'x.pth'"):
        tool.module('train').main()
    assert not Path(out).exists()


def test_an_option_of_the_algorithm_is_not_for_the_dense_network(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tool.ROOT)
    out = str(tmp_path / 'out')
    option = ['--cfg-options', 'model.target_pruning_ratio=0.25']
    monkeypatch.setattr(sys, 'argv', ['train.py', CONFIG, '--work-dir', out, *option])
    train = tool.module('train')
    configs = train.stage_configs(train.parse_args(), train.stages_of(CONFIG))
    ratios = {name: cfg.model.get('target_pruning_ratio') for name, cfg in configs.items()}
    assert ratios == dict(dense=None, factorize=0.25, finetune=0.25)
    assert not Path(out).exists()


def test_stages_in_the_file_of_the_model(tool: ModuleType, tmp_path: Path) -> None:
    """As recipes have them; a stage's own config, as its folder has it, is an ordinary one."""
    demo = tool.ROOT / 'configs/demo'
    config, out = tmp_path / 'fcf.py', tmp_path / 'out'
    config.write_text(
        f"_base_ = ['{demo / 'fcf_resnet20_digits_factorize.py'}']\n"
        'stages = [\n'
        f"    dict(name='dense', config='{demo / 'dense_resnet20_digits.py'}'),\n"
        "    dict(name='factorize'),\n"
        "    dict(name='finetune', cfg_options=dict(\n"
        "        model=dict(stage='finetune'), optim_wrapper=dict(optimizer=dict(lr=0.01)))),\n"
        ']\n'
    )
    tool.succeed('train', config, '--work-dir', out, '--cfg-options', *SMALL)
    read = {
        name: Config.fromfile(out / name / f'{stem}.py')
        for name, stem in (
            ('dense', 'dense_resnet20_digits'),
            ('factorize', 'fcf'),
            ('finetune', 'fcf'),
        )
    }
    assert not any('stages' in cfg for cfg in read.values())
    assert [read[name].model.get('stage') for name in STAGES] == [None, None, 'finetune']
    assert read['factorize'].optim_wrapper.optimizer == dict(type='SGD', lr=0.1)
    own = dict(type='SGD', lr=0.01, weight_decay=0.01)
    assert read['finetune'].optim_wrapper.optimizer == own
    last = out / 'finetune/epoch_1.pth'
    tool.succeed('export', out / 'finetune/fcf.py', last, '-o', tmp_path / 'again')
    first, again = (
        _state(f / 'compact.pth')['state_dict'] for f in (out / 'export', tmp_path / 'again')
    )
    assert first['backbone.layer3.0.conv1.weight'].shape[0] == 32
    for key, value in first.items():
        assert torch.equal(value, again[key]), key


@pytest.mark.parametrize('flags', [(), ('-c', '-i')], ids=['names', 'channels'])
def test_units_of_a_config(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    """What get_channel_units.py writes builds the same algorithm."""
    monkeypatch.chdir(tool.ROOT)
    config = 'configs/demo/fcf_resnet20_digits_factorize.py'
    small = ['--cfg-options', 'model.architecture.backbone.depth=8']
    path = tmp_path / 'units.json'
    arguments = ['get_channel_units.py', config, *flags, '-o', str(path), *small]
    monkeypatch.setattr(sys, 'argv', arguments)
    module = tool.module('get_channel_units')
    module.main()
    written = json.loads(path.read_text())
    assert len(written['channel_unit_cfg']['units']) == 6
    args = module.parse_args()
    cfg = module.load_config(args.config, cfg_options=args.cfg_options)
    first = module.build_model(cfg)
    cfg.model.update(mutator_cfg=written, target_pruning_ratio=None)
    second = module.build_model(cfg)
    assert second.mutator.choice_template == first.mutator.choice_template
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (first, second)]
    assert shapes[0] == shapes[1]


SCRIPT = """
import os, sys
sys.path.insert(0, 'tests')
import conftest  # registers TinyNet
import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmcompress.core import Clock

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
given = torch.load(f'{folder}/given.pth')
algorithm = MODELS.build(given['cfg'])
algorithm.load_state_dict(given['state'])
model = MMDistributedDataParallel(algorithm, broadcast_buffers=False)
wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
algorithm.eval()  # batch norm would see the other half of a batch
algorithm.start(wrapper)
asked = []
for name in ('all_reduce', 'broadcast', 'all_gather', 'reduce', 'gather', 'all_gather_object',
             'broadcast_object_list', 'scatter', 'barrier', 'all_gather_into_tensor', 'send'):
    setattr(dist, name, lambda *args, name=name, **kwargs: asked.append(name))
for i, batch in enumerate(given['batches']):
    half = slice(4 * rank, 4 * rank + 4)
    part = dict(inputs=batch['inputs'][half], data_samples=batch['data_samples'][half])
    algorithm.tick(Clock(0, i, 1, 5, i == 0))
    model.train_step(part, wrapper)
torch.save(dict(state=algorithm.state_dict(), asked=asked), f'{folder}/rank{rank}.pth')
sys.stdout.flush()
os._exit(0)  # gloo's threads now and then abort a process that ends in order
"""


def test_two_ranks_keep_the_same_scalars_and_duals(tool: ModuleType, tmp_path: Path) -> None:
    """Those of one process with the whole batch, and nobody asks the other for them."""
    cfg = dict(
        type='mmcompress.FCF', architecture=dict(type='mmengine.TinyNet'),
        target_pruning_ratio=0.5, rho=0.2, mu=1.1, alpha=0.5,
    )  # fmt: skip
    algorithm = MODELS.build(cfg)
    batches = [
        dict(inputs=torch.randn(8, 3, 8, 8), data_samples=[0, 1, 2, 3, 3, 3, 1, 0])
        for _ in range(5)
    ]
    given = dict(cfg=cfg, state=algorithm.state_dict(), batches=batches)
    torch.save(given, tmp_path / 'given.pth')
    (tmp_path / 'script.py').write_text(SCRIPT, encoding='utf-8')
    ranks = [
        subprocess.Popen(
            [sys.executable, '-W', 'ignore', tmp_path / 'script.py', str(rank), str(tmp_path)],
            cwd=tool.ROOT,
            env=tool.environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors[-3000:]
    one, other = (_state(tmp_path / f'rank{rank}.pth') for rank in range(2))
    assert one['asked'] == other['asked'] == []
    wrapper = OptimWrapper(torch.optim.SGD(algorithm.parameters(), lr=0.1, momentum=0.9))
    algorithm.eval()
    algorithm.start(wrapper)
    for i, batch in enumerate(batches):
        algorithm.tick(Clock(0, i, 1, 5, i == 0))
        algorithm.train_step(batch, wrapper)
    for key, value in algorithm.state_dict().items():
        assert torch.equal(one['state'][key], other['state'][key]), key
        torch.testing.assert_close(one['state'][key], value, rtol=1e-4, atol=1e-6, msg=key)
    assert (algorithm.scalars[0] - 1).abs().max() > 0.05


def test_one_command_for_any_config(
    tool: ModuleType, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    """A method file lists its stages; --epochs says how long they are, schedules follow."""
    options = ('model.backbone.depth=8', f'load_from={runs[0]}/dense/epoch_2.pth', *SMALL[:3])
    tool.succeed(
        'train',
        'configs/demo/dense_resnet20_digits.py',
        '--compress',
        'fcf_r18',
        '--epochs',
        'factorize=2',
        'finetune=1',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *options,
    )
    lengths = {}
    for stage in STAGES[1:]:
        cfg = Config.fromfile(next((tmp_path / stage).glob('*.py')))
        assert cfg.model.stage == stage if stage == 'finetune' else 'stage' not in cfg.model
        lengths[stage] = cfg.train_cfg.max_epochs, cfg.param_scheduler[-1].end
    assert lengths == dict(factorize=(2, 2), finetune=(1, 1))
    assert (tmp_path / 'export' / 'compact.pth').is_file()
    assert (tmp_path / 'test' / 'metrics.json').is_file()


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (('factorize',), "'factorize'"),
        (('factorise=3',), "'factorise'"),
        (('factorize=0',), "'factorize=0'"),
    ],
)
def test_wrong_lengths(call, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    out = tmp_path / 'out'
    with pytest.raises(CompressionError, match=f'--epochs.*{told}'):
        call('train', CONFIG, '--work-dir', out, '--epochs', *words)
    assert not out.exists()
