"""Small networks, runners and tools that the tests of several folders share."""

import copy
import importlib.util
import itertools
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

from mmengine.evaluator import BaseMetric  # isort: skip
from mmengine.model import BaseModel  # isort: skip
from mmengine.registry import DATASETS, METRICS, MODELS, DefaultScope  # isort: skip
from mmengine.runner import Runner  # isort: skip
from mmcompress.cli.tabulating import metafiles_read_once  # isort: skip
from mmcompress.core.channels.mutator import ChannelMutator  # isort: skip
from mmcompress.core.filters.mutator import FilterMutator  # isort: skip

# No test reads or leaves times of this machine where its user keeps them.
os.environ['MMCOMPRESS_CACHE'] = tempfile.mkdtemp(prefix='mmcompress-times-')
torch.set_num_threads(1)  # small networks; a second thread costs more than it gives

#: What the small environment of `make test-fast` lacks; a file that names one of these needs more.
FULL = re.compile(r'\b(mmdet|mmseg|mmpose|mmrazor|onnx|onnxruntime|osqp|mmcv\.ops)\b')
#: Paths from this folder, of tests that run whole tools, pages or trainings, or build networks of
#: published recipes.
SLOW = re.compile(
    r'(benchmarks|cli|docs|integration|test_api|test_import|methods/\w+/test_layout_)'
)


def _needs_full(path: Path) -> bool:
    return bool(FULL.search(path.read_text(encoding='utf-8')))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files that need the full environment can't even be imported without it."""
    wanted = collection_path.suffix != '.py' or 'not full' not in config.option.markexpr
    return None if wanted or not _needs_full(collection_path) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as ``full`` and ``slow``, see ``pyproject.toml``."""
    full = {path: _needs_full(path) for path in {item.path for item in items}}
    for item in items:
        if full[item.path]:
            item.add_marker('full')
        if SLOW.match(item.path.relative_to(Path(__file__).parent).as_posix()):
            item.add_marker('slow')


@MODELS.register_module(force=True)
class TinyNet(BaseModel):
    """Three convolutions, a residual add, dropout and a linear head, in OpenMMLab's form."""

    def __init__(self, width=8, num_classes=4, dropout=0.0, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = nn.Sequential()
        self.backbone.add_module('conv1', nn.Conv2d(3, width, 3, padding=1, bias=False))
        self.backbone.add_module('bn1', nn.BatchNorm2d(width))
        self.backbone.add_module('relu', nn.ReLU())
        self.backbone.add_module('conv2', nn.Conv2d(width, width * 2, 3, stride=2, padding=1))
        self.backbone.add_module('bn2', nn.BatchNorm2d(width * 2))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width * 2, num_classes)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if isinstance(inputs, (list, tuple)):
            inputs = torch.stack(list(inputs))
        features = self.backbone(inputs).relu().mean(dim=(2, 3))
        logits = self.head(self.dropout(features))
        if mode == 'loss':
            target = torch.as_tensor(data_samples)
            return dict(loss=nn.functional.cross_entropy(logits, target))
        return logits if mode == 'tensor' else list(logits)


@pytest.fixture
def tiny_cfg():
    """Config of :class:`TinyNet`."""
    return dict(type='mmengine.TinyNet')


@pytest.fixture
def classifier_cfg():
    """Factory of configs of small CIFAR classifiers."""

    def make(depth=8, **backbone):
        return dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmcompress.CIFARResNet', depth=depth, **backbone),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=64),
        )

    return make


@pytest.fixture
def library_model():
    """Factory of models of an OpenMMLab library with random weights; nothing is downloaded."""

    def make(name, **changes):
        from mmengine.hub import get_config

        cfg = get_config(name)
        cfg.merge_from_dict({f'model.{k}'.replace('__', '.'): v for k, v in changes.items()})
        library = {'mmpretrain': 'mmpretrain', 'mmdet': 'mmdet', 'mmseg': 'mmseg'}.get(
            name.split('::')[0], 'mmpose'
        )
        return MODELS.build(dict(cfg.model, _scope_=library))

    return make


@pytest.fixture(scope='session')
def random_norms():
    """A function that gives batch norms other statistics and parameters than those of the start."""

    def change(model):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        return model

    return change


@pytest.fixture
def rng_state():
    """A function that returns the state of every random generator, comparable by ``==``."""

    def state():
        kind, keys, *rest = np.random.get_state()
        return (torch.get_rng_state().tolist(), kind, keys.tolist(), rest, random.getstate())

    return state


@pytest.fixture(scope='session', autouse=True)
def _libraries_are_read_once():
    with metafiles_read_once():
        yield


#: Networks, with their units, whose export has been rehearsed without a fault.
_rehearsed: set[tuple] = set()


@pytest.fixture(autouse=True)
def _rehearsed_once(request, monkeypatch):
    """Tests build the same few networks again and again; one rehearsal of each does.

    Files whose networks look alike and are not, set ``REHEARSES``.
    """
    if getattr(request.module, 'REHEARSES', False):
        return

    def once(kind, nothing):
        rehearse = kind._rehearse

        def rehearse_once(mutator, architecture):
            kinds = tuple(map(type, architecture.modules()))
            # How much is kept makes no difference.
            units = tuple((name, type(unit)) for name, unit in mutator.units.items())
            key = (type(mutator), kinds, str(architecture), units)
            if key in _rehearsed:
                return nothing
            found = rehearse(mutator, architecture)
            if found == nothing:
                _rehearsed.add(key)
            return found

        monkeypatch.setattr(kind, '_rehearse', rehearse_once)

    once(ChannelMutator, {})
    once(FilterMutator, ({}, []))


@pytest.fixture(autouse=True)
def _scope():
    """The default scope of a classification run; what a test (or its runner) sets is undone."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@DATASETS.register_module(force=True)
class RandomImages(Dataset):
    """A few fixed images of four classes, each changed at random by all three generators."""

    def __init__(self, length=8, augment=True):
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(length, 3, 8, 8, generator=generator)
        self.augment = augment

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        if self.augment:
            image = image * (1 + np.random.rand()) + random.random() + torch.rand(())
        return dict(inputs=image.float(), data_samples=index % 4)


@METRICS.register_module(force=True)
class DrawingMetric(BaseMetric):
    """Mean of the outputs; draws random numbers on the way, as samplers in validation do."""

    def process(self, data_batch, data_samples):
        np.random.rand(), random.random(), torch.rand(2)
        self.results.extend(float(sample.sum()) for sample in data_samples)

    def compute_metrics(self, results):
        return dict(mean=sum(results) / len(results))


@pytest.fixture
def make_runner(tmp_path):
    """Factory of runners on :class:`RandomImages`, two images a batch."""
    count = itertools.count()

    def make(
        model,
        length,
        by_epoch=True,
        resume=None,
        seed=None,
        hooks=('CompressionHook', 'ReseedHook'),
        images=8,
        workers=0,
        persistent=False,
        validate=True,
        every=1,
        **kwargs,
    ):
        folder = tmp_path / f'run{next(count)}'
        loader = dict(
            batch_size=2,
            num_workers=workers,
            persistent_workers=persistent,
            dataset=dict(type='RandomImages', length=images),
        )
        val = {}
        if validate:
            val = dict(
                val_cfg=dict(),
                val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
                val_evaluator=dict(type='DrawingMetric'),
            )
        sampler = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
        if by_epoch:
            train_cfg = dict(by_epoch=True, max_epochs=length, val_interval=1)
        else:
            train_cfg = dict(by_epoch=False, max_iters=length, val_interval=2)
        return Runner(
            model=copy.deepcopy(model),
            work_dir=str(folder),
            experiment_name=folder.as_posix(),
            train_dataloader=dict(loader, sampler=dict(type=sampler, shuffle=True)),
            train_cfg=train_cfg,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
            param_scheduler=dict(
                type='LinearLR', start_factor=0.5, by_epoch=by_epoch, begin=0, end=length
            ),
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=every, by_epoch=by_epoch)
            ),
            custom_hooks=[dict(type=f'mmcompress.{hook}') for hook in hooks],
            randomness=dict(seed=seed),
            load_from=None if resume is None else str(resume),
            resume=resume is not None,
            log_level='ERROR',
            **val,
            **kwargs,
        )

    return make


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f'{name}.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def tool() -> ModuleType:
    """How to run the tools (tests are imported on their own and can't import each other)."""
    return _load('tool')


@pytest.fixture(scope='session')
def conversion() -> ModuleType:
    """How to convert checkpoints of literal networks."""
    return _load('conversion')


@pytest.fixture
def runs(conversion: ModuleType, tmp_path: Path):
    """Conversions into the test's folder, see ``tests/conversion.py``."""
    return conversion.Runs(tmp_path)


@pytest.fixture
def call(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run a tool in this process; returns its standard output."""

    def run(name: str, *arguments: object) -> str:
        monkeypatch.chdir(tool.ROOT)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
        capsys.readouterr()
        tool.module(name).main()
        return capsys.readouterr().out

    return run


@pytest.fixture(scope='session')
def trained(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work dir of three uninterrupted epochs of the small demo."""
    work_dir = tmp_path_factory.mktemp('trained') / 'run'
    tool.succeed(
        'train',
        tool.DEMO,
        '--work-dir',
        work_dir,
        '--cfg-options',
        'train_cfg.max_epochs=3',
        *tool.SMALL,
    )
    return work_dir


@pytest.fixture(autouse=True)
def _no_process_group_is_left() -> Iterator[None]:
    """Tools that run in this process end it when they are one of several: leave no group behind."""
    yield
    distributed = sys.modules.get('torch.distributed')
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
