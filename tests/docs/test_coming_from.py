"""docs/coming_from/: a row for every flag of the other programs, and no name that isn't there.

tests/integration/test_coming_from.py runs the commands.
"""

import argparse
import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from mmcompress import cli
from mmcompress.cli.launch import read_config
from mmcompress.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
PAGES = {page.stem: page for page in sorted((ROOT / 'docs/coming_from').glob('*.md'))}

#: The flags of the argument parsers of their programs, by page and section.
FLAGS = {
    # utils/options.py and test_compact_model.py
    ('dcff', 'Flags'): """
        data_set data_path train_batch_size test_batch_size num_epochs gpus lr lr_decay_step lr_type
        momentum weight_decay arch resume test_only job_dir reset debug get_flops cprate
        resume_compact_model""",
    # train_{cifar,imagenet}_fcf.py, finetune_{cifar,imagenet}.py, inference_*.py
    ('fcf', 'Flags'): """
        epochs decay-epochs print-freq batch-size lr learning-rate alpha sparse-rate model
        training-mode sparse-mode pretrained-model checkpoint-name momentum weight-decay wd
        fcf-checkpoint best-checkpoint finetune-model n""",
    # image_classification/option.py
    ('filter_basis', 'Flags: image_classification/main.py'): """
        debug template n_threads cpu n_GPUs seed dir_data data_train data_test n_colors no_flip crop
        model vgg_type download base base_p act pretrained extend depth in_channels k reduction
        bottleneck kernel_size no_bias precision multi n_init max_iter symmetry init_seeds
        scale_type n_bits top group_size n_group k_size1 k_size2 inverse_index transition_group
        basis_size1 basis_size2 basis_size3 n_basis1 n_basis2 n_basis3 vgg_decom_type
        basis_size_str n_basis_str basis_size n_basis pre_train_optim unique_basis loss_norm reset
        test_every test_only epochs resume batch_size linear lr decay gamma optimizer momentum
        nesterov betas epsilon weight_decay loss dir_save save load print_every save_models
        compare""",
    # super_resolution/option.py
    ('filter_basis', 'Flags: super_resolution/main.py'): """
        debug template n_threads cpu n_GPUs seed dir_data dir_demo data_train data_test
        benchmark_noise n_train n_val offset_val ext scale patch_size rgb_range n_colors noise chop
        model act pre_train extend n_resblocks n_feats res_scale shift_mean precision res_act
        reg_anchor reg_out submodel norm_type n_groups n_resblocks_ft model_one subset normal_lr
        input_res n_resunits sic_layer group_size bn_every basis_size n_basis share_basis
        pre_train_optim loss_norm multi n_init max_iter symmetry init_seeds scale_type n_bits
        pretrain_cluster reset test_every epochs batch_size split_batch self_ensemble test_only
        gan_k lr lr_decay decay_type gamma optimizer momentum beta1 beta2 epsilon weight_decay loss
        skip_threshold dir_save save load resume print_model save_models print_every save_results
        n_resgroups reduction testpath testset""",
    # models/*_xcnn.py
    ('linear_conv', 'Flags'): 'type rank sparsity',
    # tools/{train,test}.py and tools/pruning/*.py
    ('mmrazor', 'Flags'): """
        work-dir amp auto-scale-lr resume cfg-options launcher local_rank with-channel
        with-init-args choice output-path checkpoint subnet""",
    # train_*.py and eval_*.py
    ('shared_basis', 'Flags'): """
        lr momentum weight_decay lambdaR shared_rank unique_rank batch_size visible_device
        pretrained starting_epoch dataset_path model""",
}
#: The files in scripts/ of FCF, each with a row of its own.
SCRIPTS = [
    f'{step}_{data}_{net}.sh'
    for step, infix in (('train', '_fcf'), ('finetune', ''), ('inference', ''))
    for data, nets in (('cifar', (20, 32, 56, 110)), ('imagenet', (34, 50)))
    for net in (f'fcf_resnet{n}' if infix else f'resnet{n}' for n in nets)
]


def sections(page):
    """The text of a page by heading."""
    parts = re.split(r'^#{2,3} (.+)$', PAGES[page].read_text(encoding='utf-8'), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text):
    """The cells of all rows of tables, without headers."""
    found = [line.strip('|').split(' | ') for line in text.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in row] for row in found if '---' not in row[0]]


def flags(page):
    """The sections about flags."""
    return [text for name, text in sections(page).items() if name.startswith('Flags')]


@pytest.mark.parametrize(('page', 'section'), FLAGS, ids='-'.join)
def test_every_flag_has_a_row(page, section):
    table = rows(sections(page)[section])
    named = [name for row in table for name in re.findall(r'`--([\w-]+)', row[0])]
    assert set(named) == set(FLAGS[page, section].split())
    assert all(len(row) == 2 and row[1] for row in table)


def test_every_script_of_fcf_has_a_row():
    named = re.findall(r'^\| `(\w+\.sh)`', PAGES['fcf'].read_text(encoding='utf-8'), re.M)
    assert sorted(named) == sorted(SCRIPTS)


@cache
def options():
    """The options of all commands."""
    modules, found = [cli], set()
    while modules:
        module = modules.pop()
        for verb in getattr(module, 'VERBS', ()):
            modules.append(import_module(f'{module.__name__}.{verb}'))
        if hasattr(module, 'add_arguments'):
            parser = argparse.ArgumentParser()
            module.add_arguments(parser)
            found |= {word for action in parser._actions for word in action.option_strings}
    return found


@pytest.mark.parametrize('page', PAGES)
def test_our_options_are_there(page):
    """In the last column of the tables of flags."""
    cells = [
        row[-1] for name, text in sections(page).items() if 'lags' in name for row in rows(text)
    ]
    named = {word for cell in cells for word in re.findall(r'`(--[\w-]+)', cell)}
    assert named <= options()


@cache
def content(name):
    """A config of the repository."""
    return read_config(str(ROOT / name))._cfg_dict


def configs(page):
    """The configs that a page names, read as they are asked for."""
    text = PAGES[page].read_text(encoding='utf-8')
    names = dict.fromkeys(re.findall(r'configs/(?:dense|pruning)/[\w./-]+\.py', text))
    assert names
    return map(content, names)


def knows(cfg, keys):
    """Whether a config has a setting, or the class of what it is for takes it."""
    for index, key in enumerate(keys):
        if isinstance(cfg, (list, tuple)) and key.isdigit():
            cfg = cfg[int(key)]
        elif isinstance(cfg, dict) and key in cfg:
            cfg = cfg[key]
        else:
            kind = isinstance(cfg, dict) and MODELS.get(str(cfg.get('type')))
            return index == len(keys) - 1 and bool(kind) and key in arguments(kind)
    return True


def arguments(kind):
    return {name for base in kind.__mro__ for name in inspect.signature(base.__init__).parameters}


#: Settings that are no part of any config of ours: mmengine's, or of a class without a name there.
OTHERS = {
    'randomness.seed',
    'load_from',
    'train_dataloader.dataset.indices',
    'val_dataloader.dataset.indices',
    'train_dataloader.dataset.data_root',
    'default_hooks.checkpoint.max_keep_ckpts',
    'default_hooks.checkpoint.save_best',
    'optim_wrapper.accumulative_counts',
    'default_hooks.visuals.count',
    'optim_wrapper.optimizer.momentum',
    'optim_wrapper.optimizer.weight_decay',
    'optim_wrapper.optimizer.nesterov',
    'model.mutator_cfg.parse_cfg.kernel_size',
    'model.mutator_cfg.filter_unit_cfg.default_args.rank',
    'model.mutator_cfg.filter_unit_cfg.default_args.target_sparsity',
}
SHORT = {
    'ARGS': 'model.mutator_cfg.filter_unit_cfg.default_args',
    'UNITS': 'model.mutator_cfg.filter_unit_cfg',
}


@pytest.mark.parametrize('page', PAGES)
def test_our_settings_are_there(page):
    """What tables set in a config, by key: a config that the page names has or takes each."""
    named = re.findall(r'`((?:[a-z]\w*|ARGS|UNITS)(?:\.\w+)+)(?==|`)', '\n'.join(flags(page)))
    unknown = set()
    for name in named:
        first, _, rest = name.partition('.')
        full = f'{SHORT.get(first, first)}.{rest}'
        if first in ('factorize', 'finetune', 'dense'):
            full = rest
        if re.search(r'\.(py|sh|pth|json|md|pt|pkl)$', full) or full in OTHERS:
            continue
        keys = full.split('.')
        if not any(knows(cfg, keys) for cfg in configs(page)):
            unknown.add(name)
    assert not unknown


def test_names_of_configs_of_shared_basis():
    """Those in the table of models, which has no folders."""
    text = sections('shared_basis')['Names of models']
    named = re.findall(r'`((?:dense|shared_basis)_\w[\w.-]*)`', text)
    folders = [ROOT / 'configs/dense', ROOT / 'configs/pruning/mmcls/shared_basis']
    assert len(named) > 30
    for name in named:
        assert any((folder / f'{name}.py').is_file() for folder in folders), name
    shipped = {path.stem for path in folders[1].glob('*.py') if '_half_' not in path.stem}
    assert shipped <= set(named)


def test_a_setting_that_is_not_there_would_be_seen():
    cfg = dict(model=dict(type='mmcompress.SharedBasis', orthogonality=1))
    assert knows(cfg, ['model', 'orthogonality_terms'])
    assert not knows(cfg, ['model', 'orthogonalty'])
    assert not knows(cfg, ['model', 'orthogonality_terms', 'unique'])
