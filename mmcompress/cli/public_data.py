"""The public data sets that recipes train on: where they stand, how large they are, what lacks.

Recipes name them as OpenMMLab does, by paths in ``data/``. ``--data`` is the folder that stands for
it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcompress.core.errors import CompressionError

#: The folder in the configs.
PREFIX = 'data/'

PHASES = ('train', 'val', 'test')

#: Where to get what, by a folder in its path.
SOURCES = {
    'cifar10': 'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz',
    'cifar100': 'https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz',
    'imagenet': 'ILSVRC 2012 from https://image-net.org',
    'person_detection_results': 'a file that the MMPose documentation links to, under COCO',
    'coco': '2017 from https://cocodataset.org',
    'cityscapes': 'leftImg8bit and gtFine from https://www.cityscapes-dataset.com',
    'DIV2K': 'https://data.vision.ee.ethz.ch/cvl/DIV2K, cut by `mmcompress data crop`',
    'benchmark': 'the benchmarks of https://github.com/sanghyun-son/EDSR-PyTorch',
    'svhn': 'http://ufldl.stanford.edu/housenumbers',
    'fashion_mnist': 'https://github.com/zalandoresearch/fashion-mnist, unpacked',
    'mnist': 'http://yann.lecun.com/exdb/mnist, unpacked',
}

#: Training images (of pose: persons) by the type and the folder of the data set. Those of
#: detection are the ones that have boxes; DIV2K's are its sub-images.
SIZES = {
    ('CIFAR10', 'cifar10'): 50_000,
    ('CIFAR100', 'cifar100'): 50_000,
    ('ImageNet', 'imagenet'): 1_281_167,
    ('CocoDataset', 'coco'): 117_266,
    ('CocoDataset', 'coco topdown'): 149_813,
    ('CityscapesDataset', 'cityscapes'): 2_975,
    ('SRFolders', 'DIV2K'): 32_592,
    ('SVHN', 'svhn'): 73_257,
    ('MNIST', 'mnist'): 60_000,
    ('FashionMNIST', 'fashion_mnist'): 60_000,
}


def move_data(cfg: Config, folder: Path) -> None:
    """Let all paths in ``data/`` begin with another folder, in place."""

    def moved(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(PREFIX):
            # A data root may end in a slash, to which file names are added.
            return f'{folder}/{value.removeprefix(PREFIX)}'
        if isinstance(value, dict):
            for key in value:
                value[key] = moved(value[key])
        elif isinstance(value, (list, tuple)):
            return type(value)(moved(item) for item in value)
        return value

    for phase in PHASES:
        for key in (f'{phase}_dataloader', f'{phase}_evaluator'):
            if cfg.get(key):
                cfg[key] = moved(cfg[key])


def kind_of(dataset: dict[str, Any]) -> tuple[str, str]:
    """The type of a data set without its scope, and the name of its folder."""
    kind = str(dataset['type']).rpartition('.')[2]
    name = Path(dataset['data_root']).name
    return kind, f'{name} topdown' if dataset.get('data_mode') == 'topdown' else name


def training_images(cfg: Config) -> int:
    """How many images (of pose: persons) an epoch of a recipe has.

    Raises:
        CompressionError: If its data set is none of the public ones.
    """
    kind = kind_of(cfg.train_dataloader.dataset)
    if kind not in SIZES:
        raise CompressionError(
            f'train_dataloader.dataset is {kind[0]!r} in {kind[1]!r}; it has to be one of '
            f'{", ".join(sorted({name for name, _ in SIZES}))}'
        )
    return SIZES[kind]


def check_data(configs: list[Config]) -> None:
    """See that all files are there that some recipes read.

    Args:
        configs: After :func:`move_data`.

    Raises:
        CompressionError: If one is missing; it says which, and where it comes from.
    """
    for cfg in configs:
        for phase in PHASES:
            loader = cfg.get(f'{phase}_dataloader')
            if loader:
                _check(loader['dataset'])


def _check(dataset: dict[str, Any]) -> None:
    kind, name = kind_of(dataset)
    root = Path(dataset['data_root'])
    for path, there in CHECKS.get(kind, _paths)(root, dataset):
        if not there:
            source = next((SOURCES[part] for part in reversed(path.parts) if part in SOURCES), '')
            raise CompressionError(
                f'--data: {name.split()[0]} is not complete: there is no {str(path)!r}'
                + (f' ({source})' if source else '')
            )


Found = Iterator[tuple[Path, bool]]


def _files(folder: str, *names: str) -> Callable[[Path, dict], Found]:
    def check(root: Path, dataset: dict) -> Found:
        for name in names:
            path = root / folder / name
            yield path, path.is_file()

    return check


def _imagenet(root: Path, dataset: dict) -> Found:
    """Folders of classes; or a list of labels, and images without folders."""
    part = root / dataset['split']
    yield part, _has_content(part)
    meta = root / 'meta' / f'{dataset["split"]}.txt'
    folders = sum(path.is_dir() for path in part.iterdir())
    if folders != 1000:
        yield meta, meta.is_file()


def _idx(root: Path, dataset: dict) -> Found:
    for part, kind in itertools.product(('train', 't10k'), ('images-idx3', 'labels-idx1')):
        path = root / f'{part}-{kind}-ubyte'
        yield path, path.is_file()


def _cityscapes(root: Path, dataset: dict) -> Found:
    """A folder for each city."""
    for key, end in (('img_path', 'leftImg8bit'), ('seg_map_path', 'gtFine_labelTrainIds')):
        folder = root / dataset['data_prefix'][key]
        pattern = f'*_{end}.png'
        yield folder / '*' / pattern, next(folder.glob(f'*/{pattern}'), None) is not None


def _super_resolution(root: Path, dataset: dict) -> Found:
    """Small test images are made where they are missing; for training that would take long."""
    folders = ['gt_folder'] if dataset.get('test_mode') else ['gt_folder', 'lq_folder']
    for key in folders:
        path = root / dataset[key]
        yield path, _has_content(path)


def _paths(root: Path, dataset: dict) -> Found:
    """Annotations and folders of images, as mmengine's data sets name them."""
    for key in ('ann_file', 'bbox_file'):
        if dataset.get(key):
            # The file of a detector's boxes is named from the working directory.
            path = Path(dataset[key]) if key == 'bbox_file' else root / dataset[key]
            yield path, path.is_file()
    for folder in (dataset.get('data_prefix') or {}).values():
        yield root / folder, _has_content(root / folder)


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is not None


CHECKS: dict[str, Callable[[Path, dict], Found]] = {
    'CIFAR10': _files(
        'cifar-10-batches-py', *(f'data_batch_{i}' for i in range(1, 6)), 'test_batch'
    ),
    'CIFAR100': _files('cifar-100-python', 'train', 'test', 'meta'),
    'ImageNet': _imagenet,
    'CityscapesDataset': _cityscapes,
    'SRFolders': _super_resolution,
    'SVHN': _files('', 'train_32x32.mat', 'test_32x32.mat'),
    'MNIST': _idx,
    'FashionMNIST': _idx,
}
