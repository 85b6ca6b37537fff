"""Who imports whom: core knows no method, and no method knows another."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import mmcompress

ROOT = Path(mmcompress.__file__).parent
METHODS = sorted(p.name for p in (ROOT / 'methods').iterdir() if (p / '__init__.py').exists())


def imports(path):
    """Absolute names of all modules (and names in them) that a source file imports."""
    package = ['mmcompress', *path.relative_to(ROOT).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = '.'.join([*base, *([node.module] if node.module else [])])
            found.add(module)
            found.update(f'{module}.{alias.name}' for alias in node.names)
    return found


def sources(folder):
    files = sorted((ROOT / folder).rglob('*.py'))
    assert files
    return files


def inside(name, package):
    return name == package or name.startswith(package + '.')


def test_imports_are_read_rightly(tmp_path):
    found = imports(ROOT / 'methods' / 'dcff' / 'op.py')
    assert 'mmcompress.methods.dcff.importance' in found
    assert 'mmcompress.core.layers.narrow' in found
    assert 'mmcompress.methods' in imports(ROOT / '__init__.py')


@pytest.mark.parametrize('path', sources('core'), ids=lambda p: p.stem)
def test_core_imports_no_method(path):
    allowed = ('core', 'compat', 'registry')
    for name in imports(path):
        if inside(name, 'mmcompress') and name != 'mmcompress':
            assert name.split('.')[1] in allowed, f'{path.name} imports {name}'


@pytest.mark.parametrize('folder', ['compat', 'models', 'datasets', 'engine', 'report'])
def test_nothing_beside_the_methods_imports_one(folder):
    for path in sources(folder):
        for name in imports(path):
            assert not inside(name, 'mmcompress.methods'), f'{path} imports {name}'


def test_compat_imports_nothing_of_ours():
    for path in sources('compat'):
        for name in imports(path):
            if inside(name, 'mmcompress') and name != 'mmcompress':
                assert inside(name, 'mmcompress.compat'), f'{path} imports {name}'


@pytest.mark.parametrize('method', METHODS)
def test_a_method_imports_no_other(method):
    own = f'mmcompress.methods.{method}'
    for path in sources(f'methods/{method}'):
        for name in imports(path):
            if inside(name, 'mmcompress.methods') and name != 'mmcompress.methods':
                assert inside(name, own), f'{path} imports {name}'


@pytest.mark.parametrize('method', METHODS)
def test_every_method_has_the_same_rooms(method):
    present = {path.name for path in (ROOT / 'methods' / method).iterdir()}
    assert {'__init__.py', 'algorithm.py', 'mutator.py', 'unit.py', 'op.py'} <= present


@pytest.mark.parametrize('method', METHODS)
def test_importing_the_package_imports_the_method(method):
    module = import_module(f'mmcompress.methods.{method}')
    from mmcompress.registry import MODELS

    registered = {kind.__module__ for kind in MODELS.module_dict.values()}
    for part in ('algorithm', 'mutator', 'unit', 'op'):
        assert f'{module.__name__}.{part}' in registered
