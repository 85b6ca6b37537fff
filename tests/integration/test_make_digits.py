"""tools/make_digits.py: the libraries' own data sets read what it wrote as they read digits://."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

import mmcompress  # noqa: F401  (registers digits://)
from mmcompress.datasets.files import file_names, read

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'


@pytest.fixture(scope='module')
def written(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything."""
    out = tmp_path_factory.mktemp('digits') / 'new' / 'digits'
    text = tool.succeed('make_digits', '--out', out)
    assert f'{len(file_names())} files' in text
    return out


def test_files_are_those_of_the_virtual_folder(written: Path) -> None:
    found = {str(path.relative_to(written)) for path in written.rglob('*') if path.is_file()}
    assert found == set(file_names())
    for name in file_names()[::50]:
        assert (written / name).read_bytes() == read(name)
    assert [path.name for path in written.parent.iterdir()] == ['digits']  # nothing left over


@pytest.mark.parametrize(
    ('library', 'task'), [('mmdet', 'detection'), ('mmseg', 'segmentation'), ('mmpose', 'pose')]
)
@pytest.mark.parametrize('part', ['train', 'val'])
def test_stock_datasets_read_it(written: Path, library: str, task: str, part: str) -> None:
    pytest.importorskip(f'{library}.datasets')
    with DefaultScope.overwrite_default_scope(library):
        config = Config.fromfile(CONFIGS / f'digits_{task}.py')[f'{part}_dataloader'].dataset
        assert config.type in ('CocoDataset', 'BaseSegDataset')
        # The deterministic pipeline for both.
        config.pipeline = Config.fromfile(CONFIGS / f'digits_{task}.py').test_pipeline
        in_memory = DATASETS.build(config)
        folder = config.data_root.removeprefix('digits://')
        on_disk = DATASETS.build(dict(config, data_root=str(written / folder)))
        assert len(in_memory) == len(on_disk)
        for index in range(0, len(on_disk), 40):
            ours, theirs = in_memory[index], on_disk[index]
            assert ours['inputs'].equal(theirs['inputs'])
            assert _truth(ours) == _truth(theirs)


def test_cityscapes_dataset_reads_it(written: Path) -> None:
    """Under Cityscapes' own names of classes: it takes no others."""
    from mmseg.datasets import CityscapesDataset

    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = CityscapesDataset(
            data_root=str(written / 'cityscapes'),
            data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
            pipeline=Config.fromfile(CONFIGS / 'digits_segmentation.py').test_pipeline,
        )
    truths = [dataset[index]['data_samples'].gt_sem_seg.data for index in range(20)]
    assert torch.cat(truths).unique().tolist() == list(range(11))


def _truth(item: dict) -> list:
    """The ground truth of a packed item as plain numbers."""
    sample = item['data_samples']
    if 'gt_sem_seg' in sample:
        return sample.gt_sem_seg.data.tolist()
    truth = sample.gt_instances
    if 'keypoints' in truth:
        return [truth.keypoints.tolist(), truth.bboxes.tolist(), sample.raw_ann_info]
    return [truth.bboxes.tensor.tolist(), truth.labels.tolist(), sample.img_id]


def test_nothing_is_overwritten(tool: ModuleType, tmp_path: Path) -> None:
    mine = tmp_path / 'out' / 'mine.txt'
    mine.parent.mkdir()
    mine.write_text('mine', encoding='utf-8')
    done = tool.run_tool('make_digits', '--out', mine.parent, '--task', 'pose')
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith('error: --out:')
    assert 'another' in done.stderr
    assert [path.name for path in mine.parent.iterdir()] == ['mine.txt']
    assert mine.read_text(encoding='utf-8') == 'mine'
