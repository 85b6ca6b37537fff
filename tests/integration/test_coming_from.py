"""docs/coming_from/: every command line on these pages runs, for one iteration on embedded data.

A line is code that begins with the name of a command. It runs in this process as it stands, but

- two embedded images take the place of each data set;
- one batch takes the place of the schedule, and one round that of a measurement;
- some networks have fewer blocks or channels (``FEWER``);
- `tools/dist_*.sh` is the tool alone: ``test_train.py`` tests the scripts;
- a checkpoint that training writes after its last epoch is that of the only epoch;
- a checkpoint of the authors has random numbers (``THEIRS``).
"""

from __future__ import annotations

import copy
import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmcompress import cli
from mmcompress.cli.launch import load_config
from mmcompress.core.base.build import build_model
from mmcompress.methods.dcff import DCFF

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / 'docs/coming_from').glob('*.md'))
#: No line but a form, in which the reader puts something for a name in capitals.
FORM = re.compile(r'\b(?:[A-Z]+_)?(?:CONFIG|DIR|VERB)\b')
#: Lines that don't run here, by how they begin, and why.
NOT_RUN = {
    'mmcompress convert --from mmrazor': 'MMRazor itself writes the file: '
    'tests/methods/dcff/test_layout_mmrazor.py converts one that it has just written',
}
#: A quarter and half of the channels of a ResNet of mmpretrain.
NARROW = {'backbone.base_channels': 16, 'backbone.stem_channels': 16}
HALF = {'backbone.base_channels': 32, 'backbone.stem_channels': 32}
#: What of the dense network is set to make it smaller, by a part of the config's name.
FEWER = {
    '_edsr': {'backbone.num_blocks': 2},
    '_srresnet': {'backbone.num_blocks': 2},
    'fcf_resnet20': {'backbone.depth': 14},
    'dense_resnet20': {'backbone.depth': 14},
    'fcf_resnet32': {'backbone.depth': 8},
    'fcf_resnet56': {'backbone.depth': 8},
    'fcf_resnet110': {'backbone.depth': 8},
    'fcf_resnet34': {**NARROW, 'head.in_channels': 128},
    'fcf_resnet50': {**NARROW, 'head.in_channels': 512},
    'dcff_resnet50': {**NARROW, 'head.in_channels': 512},
    'dcff_compact_resnet50': {**NARROW, 'head.in_channels': 512},
    'resnet50_8xb32_in1k': {**NARROW, 'head.in_channels': 512},
    'resnet50_150e_in1k': {**NARROW, 'head.in_channels': 512},
    'resnet34_150e_in1k': {**HALF, 'head.in_channels': 256},
    'resnet34_300e_cifar100': {**HALF, 'head.in_channels': 256},
}
#: Networks under the authors' names, by a part of the file's name: where they are written down, how
#: a file is made of that module, and what it takes in the config besides FEWER.
THEIRS: dict[str, tuple[str, Callable[[ModuleType], Any], list[str]]] = {
    'model_best_compact.pt': (
        'dcff/test_layout_dcff.py',
        lambda m: m.compact(m.ResNet(1, (8, 16, 32), (8, 16, 32))),
        ['model.architecture.backbone.depth=8', 'model.target_pruning_ratio=0.5'],
    ),
    'resnet20_cifar_full.pkl': (
        'fcf/test_layout_fcf.py',
        lambda m: m.CIFARNet().state_dict(),
        [],
    ),
    'resnet20_finetune_best_025.pth.tar': (
        'fcf/test_layout_fcf.py',
        lambda m: dict(state_dict=m.old(m.cut(m.CIFARNet(), 0.25).state_dict())),
        [],
    ),
    'EDSR_Basis_X4_L8_B128+27.pt': (
        'filter_basis/test_layout_filter_basis.py',
        lambda m: m.EDSR().state_dict(),
        [],
    ),
    'VGG_Basis.pt': (
        'filter_basis/test_layout_filter_basis.py',
        lambda m: m.VGG(True).state_dict(),
        [],
    ),
    'CIFAR10_ResNet56_Double_S16U1_6.30err.pth': (
        'shared_basis/test_layout_shared_basis.py',
        lambda m: dict(net_state_dict=m.ResNet(m.SMALL, 16, 1, 2, 10, blocks=9).state_dict()),
        [],
    ),
    'net_epoch_249.ckpt': (
        'linear_conv/test_layout_linear_conv.py',
        lambda m: dict(model_state_dict=m.NETWORKS['vgg11'][0]().state_dict()),
        [],
    ),
}
#: Side of the images that networks are timed with.
SIDE = 32


def lines(page: Path) -> list[str]:
    """The command lines of a page in order: indented code, and code inside of tables and text."""
    text = page.read_text(encoding='utf-8')
    spans = re.findall(r'^ {4}(\S.*)$|`([^`\n]+)`', text, re.MULTILINE)
    found = [block or code for block, code in spans]
    return [
        line
        for line in found
        if re.match(r'(?:mmcompress|tools/dist_\w+\.sh) \w\S* ', line) and not FORM.search(line)
    ]


def digits(split: str) -> dict[str, Any]:
    """Two images for a classifier."""
    return dict(
        _delete_=True,
        type='mmcompress.DigitsClassification',
        split=split,
        indices=2,
        serialize_data=False,
        pipeline=[dict(type='mmpretrain.PackInputs')],
        test_mode=split == 'test',
    )


def photos(split: str, scale: int) -> dict[str, Any]:
    """Two pairs of images for super-resolution."""
    return dict(
        _delete_=True,
        type='mmcompress.Photos',
        split=split,
        scale=scale,
        crop=16 * scale,
        step=16 * scale,
        indices=2,
        serialize_data=False,
        pipeline=[dict(type='mmcompress.PackSRInputs')],
        test_mode=split == 'test',
    )


def fewer(config: str, compressed: bool) -> dict[str, Any]:
    """The options that make the network of a config smaller."""
    if not config.startswith(('configs/', 'mmpretrain::')):
        return {}  # of a line before, which has made it smaller
    name = Path(config).name
    inner = ['']
    if '_compact_' in name:
        inner = ['cfg.', 'fix_subnet.architecture.']
    elif compressed:
        inner = ['architecture.']
    return {
        f'model.{prefix}{key}': value
        for part, settings in FEWER.items()
        if part in name
        for prefix in inner
        for key, value in settings.items()
    }


def embedded(config: str) -> dict[str, Any]:
    """The options that put embedded data into a config."""
    scale = re.search(r'_x(\d)_.*div2k', Path(config).name)
    options: dict[str, Any] = {}
    for part in ('train', 'val', 'test'):
        split = 'train' if part == 'train' else 'test'
        data = photos(split, int(scale[1])) if scale else digits(split)
        options[f'{part}_dataloader.dataset'] = data
        options[f'{part}_dataloader.num_workers'] = 0
        options[f'{part}_dataloader.persistent_workers'] = False
    return options


class Page:
    """Runs the lines of a page in a folder of their own, in which the repository's are too."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.lines = lines(path)
        for name in ('configs', 'tools'):
            (folder / name).symlink_to(ROOT / name)

    def run(self, line: str) -> None:
        """Run a line; errors are raised."""
        first, *words = shlex.split(line)
        verb = words.pop(0) if first == 'mmcompress' else re.search(r'dist_(\w+)', first)[1]
        if first != 'mmcompress':
            del words[1 if verb == 'train' else 2]  # the number of GPUs
        module = import_module(f'mmcompress.cli.{verb}')
        while hasattr(module, 'VERBS'):
            module = import_module(f'{module.__name__}.{words.pop(0)}')
        args = cli.parse(module, words, 'mmcompress')
        if verb == 'data':
            make_images(Path(args.gt), args.lq)
        else:
            compressed = '/pruning/' in args.config or bool(args.compress)
            args.cfg_options = {**(args.cfg_options or {}), **fewer(args.config, compressed)}
            getattr(self, f'_{verb}', lambda *_: None)(args, line)
        module.main(args)

    def _train(self, args: Any, line: str) -> None:
        data = embedded(args.config)
        if '/fcf_' in args.config:
            stages = ['factorize', 'finetune']
            if 'cifar10' in args.config:
                stages.append('dense')
                args.cfg_options['dense.model.backbone.depth'] = 14
            data = {}
            for stage in stages:
                # Reading a config takes `_delete_` away, so each has its own.
                own = embedded(args.config)
                data.update({f'{stage}.{key}': value for key, value in own.items()})
        args.cfg_options.update(data)
        args.cfg_options['train_cfg.max_epochs'] = 2 if args.resume else 1
        args.cfg_options['train_cfg.val_begin'] = 3  # `test` has lines of its own
        others = [other for other in self.lines if other != line]
        again = [other for other in others if args.config in other]
        resumed = any('--resume' in other for other in again)
        args.cfg_options['default_hooks.checkpoint.save_optimizer'] = resumed
        work_dir = args.work_dir or f'work_dirs/{Path(args.config).stem}'
        if not again and not any(f'{work_dir}/' in other for other in others):
            # Nobody asks for the checkpoint, and writing it takes longer than training.
            args.cfg_options['default_hooks.checkpoint.interval'] = -1
            args.cfg_options['default_hooks.checkpoint.save_last'] = False
        for key, value in args.cfg_options.items():
            if key.split('.')[-1] == 'load_from':
                # DCFF goes on with a training of its own; the others start from dense networks.
                self.provide(Path(value), args, dense='/dcff/' not in args.config)

    def _test(self, args: Any, line: str) -> None:
        if not args.config.startswith('work_dirs/'):  # that of a training has the data
            args.cfg_options.update(embedded(args.config))
        self.provide(Path(args.checkpoint), args)

    def _export(self, args: Any, line: str) -> None:
        self._test(args, line)
        args.shape = [SIDE]

    def _bench(self, args: Any, line: str) -> None:
        args.repeats, args.shape = 1, [SIDE]

    def _convert(self, args: Any, line: str) -> None:
        where, make, options = THEIRS[args.source]
        torch.save(make(module_of(ROOT / 'tests/methods' / where)), args.source)
        pairs = dict(option.split('=') for option in options)
        args.cfg_options.update({k: float(v) if '.' in v else int(v) for k, v in pairs.items()})

    def provide(self, path: Path, args: Any, dense: bool = False) -> None:
        """See that a checkpoint is there."""
        if path.is_file():
            return
        if path.parts[0] == 'work_dirs':
            assert re.fullmatch(r'epoch_\d+\.pth', path.name), f'no line writes {path}'
            trained = path.with_name('epoch_1.pth')
            assert trained.is_file(), f'no line trains {path}'
        else:
            # Not each network's conversion is on the page: a line for each would be tiresome.
            assert path.parts[0] in ('converted', 'checkpoints'), f'no line writes {path}'
            trained = Path('work_dirs', Path(args.config).stem, 'epoch_1.pth')
            if dense or not trained.is_file():
                save_random(args.config, path, dense)
                return
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(trained, path)


def save_random(config: str, path: Path, dense: bool) -> None:
    """A checkpoint with random numbers of the model of a config, or of its dense network."""
    cfg = load_config(config, None, fewer(config, '/pruning/' in config))
    if dense and 'architecture' in cfg.model:
        cfg.model = cfg.model.architecture
    model = build_model(cfg)
    if isinstance(model, DCFF):
        model.fuse(10.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=model.state_dict()), path)


def module_of(path: Path) -> ModuleType:
    """A file of tests, for the networks in it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_images(folder: Path, lq: list[str]) -> None:
    """The smallest image that can be cut, and the low-resolution ones that belong to it."""
    pairs = (pair.split('=') for pair in lq)
    small = {Path(name, f'0001x{scale}.png'): 480 // int(scale) for scale, name in pairs}
    for path, side in {folder / '0001.png': 480, **small}.items():
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.zeros((side, side, 3), np.uint8))


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.stem)
def test_lines(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A third of such a short run would go into the layout of its config's text.
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, False))
    # And a fifth into reading the same configs of the repository again.
    read, fromfile = {}, Config.fromfile

    def from_file(name: str, *args: Any, **kwargs: Any) -> Config:
        if not str(name).startswith('configs/'):
            return fromfile(name, *args, **kwargs)
        if name not in read:
            read[name] = fromfile(name, *args, **kwargs)
        return copy.deepcopy(read[name])

    monkeypatch.setattr(Config, 'fromfile', staticmethod(from_file))
    page = Page(path, tmp_path)
    assert len(page.lines) > 5
    failed = {}
    for line in page.lines:
        if any(line.startswith(start) for start in NOT_RUN):
            continue
        try:
            page.run(line)
        except (Exception, SystemExit) as error:
            failed[line] = f'{type(error).__name__}: {error}'
    assert not failed, '\n'.join(f'{line}\n    {why}' for line, why in failed.items())


def test_reasons_are_of_lines_that_are_there() -> None:
    found = [line for page in PAGES for line in lines(page)]
    for start in NOT_RUN:
        assert any(line.startswith(start) for line in found)
