"""configs/: one rule of names, see configs/README.md."""

import re
from pathlib import Path

import pytest

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = sorted(file for file in CONFIGS.rglob('*.py') if '_base_' not in file.parts)

#: Published by MMRazor under these names.
MMRAZOR = {
    f'dcff_{compact}{name}'
    for compact in ('', 'compact_')
    for name in (
        'resnet50_8xb32_in1k',
        'faster_rcnn_resnet50_8xb4_coco',
        'pointrend_resnet50_8xb2_cityscapes',
        'topdown_heatmap_resnet50_coco',
    )
}

METHOD = 'dcff|fcf|filter_basis|shared_basis|linear_conv|dense'
#: Those of the demo that are to compare with.
OTHERS = 'magnitude|bicubic'
VARIANT = r'[a-z0-9]+(?:-[a-z0-9]+)*'
#: As OpenMMLab spells them.
MODEL = (
    r'resnet\d+|resnext\d+-\d+x\d+d|vgg\d+|densenet\d+|mobilenet-v2|googlenet|all-conv|base|'
    r'(?:edsr8?|srresnet)_x[234]|faster-rcnn_r50_fpn|pointrend_r50|td-hm_res50'
)
#: Epochs, thousands of iterations or mmdet's 12 epochs; of each stage.
SCHEDULE = r'(?:\d+[ek]|\dx)(?:-(?:\d+[ek]))?'
DATASET = 'cifar10|cifar100|in1k|mnist|fashion-mnist|svhn|coco|cityscapes|div2k'
#: MACs, sparse rate, or FLOPs left out in percent.
BUDGET = r'\d+\.\d+b|rate\d+|down\d+'

RECIPE = re.compile(
    rf'(?P<method>{METHOD})(?:_(?P<variant>{VARIANT}))?_(?P<model>{MODEL})_(?P<schedule>{SCHEDULE})'
    rf'_(?P<dataset>{DATASET})(?:_(?P<budget>{BUDGET}))?'
)
DEMO = re.compile(
    rf'(?P<method>{METHOD}|{OTHERS})_(?:(?P<model>resnet\d+|(?:faster-rcnn|fcn|heatmap)_r18|edsr_x2)_)?'
    rf'(?:(?P<variant>{VARIANT})_)?(?P<dataset>digits|photos|x2_photos)'
    r'(?:_(?P<stage>factorize|finetune))?'
)


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_every_name_is_of_the_rule(file):
    folder, stem = file.relative_to(CONFIGS).parts[0], file.stem
    if stem in MMRAZOR:
        assert (folder, file.parent.name) == ('pruning', 'dcff')
        return
    parts = (DEMO if folder == 'demo' else RECIPE).fullmatch(stem)
    assert parts, stem
    if folder != 'demo':
        expected = 'dense' if folder == 'dense' else file.parent.name
        assert parts['method'] == expected
    assert not re.search('_compact_|_stages', stem)


def test_names_are_parsed_as_they_are_meant():
    found = RECIPE.fullmatch('shared_basis_double-s16u1_resnet56_300e_cifar10').groupdict()
    assert found == dict(
        method='shared_basis',
        variant='double-s16u1',
        model='resnet56',
        schedule='300e',
        dataset='cifar10',
        budget=None,
    )
    found = RECIPE.fullmatch('fcf_faster-rcnn_r50_fpn_12e-12e_coco').groupdict()
    assert (found['model'], found['schedule']) == ('faster-rcnn_r50_fpn', '12e-12e')
    assert RECIPE.fullmatch('dcff_resnet50_180e_in1k_1.02b')['budget'] == '1.02b'
    for wrong in (
        'filter_basis_vgg16_bias_300e_cifar10',  # variant behind the model
        'fcf_finetune_resnet34_in1k',  # no schedule
        'fcf_stages_resnet34_in1k',
        'linear_conv_faster_rcnn_resnet50_12e_coco',
    ):
        assert not RECIPE.fullmatch(wrong), wrong


def test_the_published_names_are_there():
    assert {file.stem for file in FILES} > MMRAZOR


def test_no_two_configs_have_one_name():
    """Work dirs are named after them."""
    stems = [file.stem for file in FILES]
    assert len(stems) == len(set(stems))


@pytest.mark.parametrize(
    'file',
    [f for f in FILES if f.parent.name == 'demo' and DEMO.fullmatch(f.stem)['stage']],
    ids=lambda file: file.stem,
)
def test_a_stage_belongs_to_a_file_that_runs_everything(file):
    whole = file.with_name(re.sub('_(factorize|finetune)$', '', file.stem) + '.py')
    assert f"config='{file.name}'" in whole.read_text()


def test_every_method_has_a_page_with_its_rows():
    """That of classification, which has the rows of the other libraries too."""
    folders = {file.parent for file in FILES if 'pruning' in file.parts}
    for name in {folder.name for folder in folders}:
        page = CONFIGS / 'pruning' / 'mmcls' / name / 'README.md'
        text = page.read_text()
        configs = {f.stem for folder in folders if folder.name == name for f in folder.glob('*.py')}
        if name in ('dcff', 'fcf', 'filter_basis', 'shared_basis'):
            assert set(re.findall(r'^\| \[(\S+?)\]', text, re.MULTILINE)) == {
                stem for stem in configs if '_compact_' not in stem
            }
        for link in re.findall(r'\]\(([^)#:]+)\)', text):
            assert (page.parent / link).exists(), (page, link)
