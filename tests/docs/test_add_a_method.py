"""docs/add_a_method.md: the examples are built from the page, trained, exported and compared."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT

from mmcompress.core import CompressionError
from mmcompress.core.base.op import Op
from mmcompress.core.export.export import export
from mmcompress.core.export.static import to_static
from mmcompress.registry import MODELS

PAGE = Path(__file__).parents[2] / 'docs' / 'add_a_method.md'
BLOCK = re.compile(r'^`(\w+)/(\w+\.py)`\n\n```python\n(.*?)^```$', re.DOTALL | re.MULTILINE)
MOST = dict(pruning=70, tucker2=90)
TINY = dict(type='mmengine.TinyNet', width=16)


def examples():
    """Sources on the page: by package, by file."""
    found = {}
    for package, file, source in BLOCK.findall(PAGE.read_text(encoding='utf-8')):
        assert file not in found.setdefault(package, {})
        found[package][file] = source
    return found


@pytest.fixture(scope='module', autouse=True)
def _written(tmp_path_factory):
    """The examples as packages that can be imported, and registered as long as this file runs."""
    folder, before = tmp_path_factory.mktemp('packages'), dict(MODELS.module_dict)
    for package, files in examples().items():
        (folder / package).mkdir()
        for file, source in files.items():
            (folder / package / file).write_text(source, encoding='utf-8')
    sys.path.insert(0, str(folder))
    try:
        for package in examples():
            importlib.import_module(package)
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [m for m in sys.modules if m.split('.')[0] in MOST]:
            del sys.modules[name]
        for name in set(MODELS.module_dict) - set(before):
            del MODELS.module_dict[name]


def test_the_page_has_both():
    assert set(examples()) == set(MOST)
    assert all('__init__.py' in files for files in examples().values())


@pytest.mark.parametrize('package', MOST)
def test_few_lines(package):
    lines = [line for source in examples()[package].values() for line in source.splitlines()]
    assert 30 < len([line for line in lines if line.strip()]) <= MOST[package]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize('package', MOST)
def test_a_method_needs_core_alone(package):
    """It changes nothing of anybody else's, and imports no method."""
    for file, source in examples()[package].items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                allowed = ('torch', 'math', 'mmcompress.core', 'mmcompress.registry')
                assert name.startswith(allowed), (file, name)


METHODS = {
    'l1': dict(type='mmcompress.Pruning', target_pruning_ratio=0.5),
    'fpgm': dict(type='mmcompress.Pruning', target_pruning_ratio=0.5, criterion='fpgm'),
    'tucker2': dict(type='mmcompress.Tucker2', target_pruning_ratio=0.5),
    'tucker2-svd': dict(type='mmcompress.Tucker2', target_pruning_ratio=0.5, init='svd'),
}


@pytest.mark.parametrize('name', METHODS)
@pytest.mark.parametrize('network', ['tiny', 'residual'])
def test_trained_and_exported_exactly(
    name, network, make_runner, classifier_cfg, random_norms, tmp_path
):
    architecture = dict(TINY)
    if network == 'residual':
        architecture = classifier_cfg()
    cfg = Config(dict(model=dict(METHODS[name], architecture=architecture)))
    dense = random_norms(ROOT.build(architecture))
    algorithm = ROOT.build(cfg.model)
    algorithm.load_state_dict(dense.state_dict(), strict=False)
    if name in ('l1', 'fpgm'):
        with pytest.raises(CompressionError, match='it has not been trained'):
            export(algorithm, cfg, tmp_path / 'early')
    if network == 'tiny':
        runner = make_runner(algorithm, 1, validate=False)
        runner.train()
        algorithm = runner.model
    else:
        algorithm.start(None)
    result = export(algorithm, cfg, tmp_path / 'out')
    assert result['max_difference'] < 1e-5
    static = to_static(algorithm)
    assert not any(isinstance(module, Op) for module in static.modules())
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(static(x), algorithm.architecture.eval()(x), rtol=1e-4, atol=1e-5)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (static, dense)]
    assert 0.2 * sizes[1] < sizes[0] < 0.75 * sizes[1]


def test_channels_of_the_smallest_norm_go():
    algorithm = ROOT.build(dict(METHODS['l1'], architecture=dict(TINY)))
    weight = algorithm.architecture.backbone.conv1.weight
    kept = weight.detach().abs().flatten(1).sum(1).argsort(descending=True)[:8].sort().values
    algorithm.start(None)
    assert algorithm.architecture.backbone.conv1.mask.nonzero().flatten().tolist() == kept.tolist()


def test_tucker_of_full_rank_is_the_dense_layer():
    units = {'backbone.conv2': dict(layers=['backbone.conv2'], init_args=dict(ranks=(32, 16)))}
    cfg = dict(
        type='mmcompress.Tucker2', architecture=dict(TINY), init='svd',
        mutator_cfg=dict(type='Tucker2Mutator', filter_unit_cfg=dict(units=units)),
    )  # fmt: skip
    dense, algorithm = ROOT.build(dict(TINY)), ROOT.build(cfg)
    algorithm.load_state_dict(dense.state_dict(), strict=False)
    op = algorithm.architecture.backbone.conv2
    torch.testing.assert_close(op.filters(), dense.backbone.conv2.weight, rtol=1e-4, atol=1e-6)
    for form in op.forms:
        static = op.to_static(form)
        x = torch.randn(2, 16, 9, 7)
        torch.testing.assert_close(static(x), dense.backbone.conv2(x), rtol=1e-4, atol=1e-5)
        weights = [p for p in static.parameters() if p.ndim > 1]
        assert op.cost(form) == sum(p.numel() for p in weights)


def test_wrong_settings_say_what_is_right():
    with pytest.raises(CompressionError, match="criterion is 'l3'; .* l1, fpgm"):
        ROOT.build(dict(METHODS['l1'], architecture=dict(TINY), criterion='l3'))
