"""Fifty steps of training, on both sides: ours by mmengine's runner, theirs by their own loop.

The folder of a method has a file ``authors.py``: a restatement of the authors' program in plain
torch, which doesn't import mmcompress, and

- ``CASES``: by name, ``config`` of our algorithm, ``optimizer``, and the function ``theirs``;
  ``given``, if there is one, changes the state that both start from.
- ``DEPARTURES``: by name, a case and the options by which our way departs from it.

``theirs(start, batches, held_out, epochs)`` gets the state of our model, trains, and returns the
losses of all steps and tensors by the names that we have for them.
"""

import copy
import importlib.util
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

import mmcompress  # noqa: F401  (repairs old dependencies before they are imported)

# isort: split
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS, DefaultScope
from mmengine.runner import Runner

HERE = Path(__file__).parent
EPOCHS, BATCHES, SIZE, HELD_OUT = 5, 10, 8, 3
#: The learning rate is a tenth from this epoch on.
DROP = 3


@cache
def digits(split):
    """``Tensor[N, 3, 8, 8]`` in float64, and labels: 80 to train with, 24 to evaluate with."""
    from sklearn.datasets import load_digits

    found = load_digits()
    part = slice(0, BATCHES * SIZE) if split == 'train' else slice(-HELD_OUT * SIZE, None)
    images = torch.from_numpy(found.images[part])[:, None].expand(-1, 3, -1, -1)
    return ((images - 4.9) / 6).contiguous(), torch.from_numpy(found.target[part]).long()


def batches(split):
    """Images and labels of every batch, in order."""
    images, labels = digits(split)
    return list(zip(images.split(SIZE), labels.split(SIZE), strict=True))


@DATASETS.register_module(force=True)
class FewDigits(Dataset):
    def __init__(self, split):
        self.images, self.labels = digits(split)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return dict(inputs=self.images[index], data_samples=self.labels[index])


@METRICS.register_module(force=True)
class Nothing(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {}


@MODELS.register_module(force=True)
class EveryKind(nn.Module):
    """Convolutions of all kinds: with a bias, in groups, depthwise, 1x1."""

    kinds = ((3, 8, 3, 1, 1), (8, 12, 3, 2, 2), (12, 12, 3, 1, 12), (12, 16, 1, 1, 1))

    def __init__(self):
        super().__init__()
        for index, (c, n, k, stride, groups) in enumerate(self.kinds, start=1):
            conv = nn.Conv2d(c, n, k, stride, k // 2, groups=groups)
            self.add_module(f'conv{index}', conv)
            self.add_module(f'bn{index}', nn.BatchNorm2d(n))

    def forward(self, x):
        for index in range(1, len(self.kinds) + 1):
            x = getattr(self, f'bn{index}')(getattr(self, f'conv{index}')(x)).relu()
        return (x,)


@MODELS.register_module(force=True)
class DigitsNet(BaseModel):
    def __init__(self, backbone, channels=64, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.fc = nn.Linear(channels, 10)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        logits = self.fc(self.backbone(inputs)[-1].mean(dim=(2, 3)))
        if mode == 'loss':
            return dict(loss_cls=F.cross_entropy(logits, data_samples))
        return list(logits) if mode == 'predict' else logits


class Losses(Hook):
    """Notes the loss of every step."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(outputs['loss'].item())


def built(config, given=None):
    """Our algorithm in float64, with the weights that both sides start from."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmengine'):
        model = MODELS.build(copy.deepcopy(config)).double()
    model.init_weights()
    if given:
        model.load_state_dict(given(copy.deepcopy(model.state_dict())))
    return model


def train(model, optimizer):
    """The losses of ours: a runner with all its hooks, and an evaluation after every epoch."""
    losses = Losses()

    def loader(split):
        return dict(
            batch_size=SIZE,
            num_workers=0,
            dataset=dict(type='FewDigits', split=split),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        )

    with tempfile.TemporaryDirectory() as folder:
        Runner(
            model=model,
            work_dir=folder,
            experiment_name=folder,
            train_dataloader=loader('train'),
            train_cfg=dict(by_epoch=True, max_epochs=EPOCHS, val_interval=1),
            val_dataloader=loader('val'),
            val_cfg=dict(),
            val_evaluator=dict(type='Nothing'),
            optim_wrapper=dict(optimizer=dict(optimizer)),
            param_scheduler=dict(type='MultiStepLR', milestones=[DROP], gamma=0.1),
            default_hooks=dict(checkpoint=None),
            custom_hooks=[dict(type='mmcompress.CompressionHook'), losses],
            log_level='ERROR',
            default_scope='mmengine',
        ).train()
    return losses.seen


def methods() -> dict[str, object]:
    """The restatements that have cases, by method."""
    found = {}
    for path in sorted(HERE.glob('*/authors.py')):
        spec = importlib.util.spec_from_file_location(f'authors_of_{path.parent.name}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[path.parent.name] = module
    return found


METHODS = methods()


@cache
def theirs_of(method, name):
    """The losses of theirs, and their tensors at the end."""
    case = METHODS[method].CASES[name]
    start = copy.deepcopy(built(case['config'], case.get('given')).state_dict())
    return case['theirs'](start, batches('train'), batches('val'), EPOCHS)


def merged(config, options):
    """A config with other options, at every depth."""
    result = dict(config)
    for key, value in options.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def gaps(method, name, options=None):
    """``|ours - theirs|`` for the loss of each step, and for their tensors at the end, by name."""
    case = METHODS[method].CASES[name]
    model = built(merged(case['config'], options or {}), case.get('given'))
    expected, tensors = theirs_of(method, name)
    found = train(model, case['optimizer'])
    steps = [abs(one - other) for one, other in zip(found, expected, strict=True)]
    if options:
        return steps, {}  # tensors have other names, or shapes
    state = model.state_dict()
    ends = {
        key: float((state[key].double() - value.double()).abs().max())
        for key, value in tensors.items()
    }
    return steps, ends


def everything() -> Iterator[tuple[str, str, str, dict]]:
    """Method, case, departure (``''`` for none) and its options."""
    for method, module in METHODS.items():
        for name in module.CASES:
            yield method, name, '', {}
        for departure, (name, options) in module.DEPARTURES.items():
            yield method, name, departure, options
