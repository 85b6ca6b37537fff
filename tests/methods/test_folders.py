"""Who imports whom: core knows no method, and no method knows another."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import mmcompress
from mmcompress.registry import MODELS

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
    assert 'mmcompress.methods' in imports(ROOT / 'everything.py')


#: Who may import whom: the rooms of core, and the rooms around it. Each may import itself.
TABLE = {
    'core/errors': '',
    'core/checks': 'core/errors',
    'core/layers': 'core/errors core/checks registry',
    'core/probe': 'core/errors core/checks core/layers',
    'core/distillation': 'core/errors core/checks core/probe',
    'core/base': (
        'core/errors core/checks core/layers core/probe core/distillation compat registry'
    ),
    'core/channels': 'core/errors core/checks core/layers core/probe core/base registry',
    'core/filters': 'core/errors core/checks core/layers core/probe core/base registry',
    'core/recovery': 'core/errors core/probe core/base core/channels core/filters',
    'core/export': 'core/errors core/checks core/layers core/probe core/base compat registry',
    # The face of core, for who writes a method.
    'core/__init__': 'core/errors core/base core/channels core/filters core/export',
    # For who has a model, and no config.
    'api': 'core registry',
    'compat': '',
    'registry': '',
    'version': '',
    'methods': 'core registry',
    'datasets': 'core/errors core/checks registry',
    'models': 'core/errors core/checks core/layers datasets registry',
    'engine': 'core/errors core/checks core/base core/export datasets registry',
    'report': 'core registry',
    'latency': 'core report registry version',
    'cli': 'core compat registry report latency models engine datasets everything version',
    'everything': 'api core compat latency methods models datasets engine registry',
    '__init__': 'cli everything version',
    '__main__': 'cli',
}


def room_of(module):
    """``mmcompress.core.layers.narrow`` to ``core/layers``; ``mmcompress`` itself to ``''``."""
    parts = module.split('.')[1:]
    if parts[:1] == ['core']:
        return '/'.join(parts[:2]) if len(parts) > 1 else 'core/__init__'
    return parts[0] if parts else ''


def arrows():
    """Every import between rooms: (room, room, source file, module)."""
    for path in sorted(ROOT.rglob('*.py')):
        if '.mim' in path.parts:
            continue
        name = '.'.join(['mmcompress', *path.relative_to(ROOT).with_suffix('').parts])
        here = room_of(name)
        for module in sorted(modules(path)):
            there = room_of(module)
            if there not in ('', here):
                yield here, there, path, module


def modules(path):
    """Modules of ours that a source file imports; without the names in them."""
    return {
        name
        for name in imports(path)
        if (inside(name, 'mmcompress') and (ROOT.parent / Path(*name.split('.'))).is_dir())
        or (ROOT.parent / Path(*name.split('.'))).with_suffix('.py').is_file()
    }


def allowed(here, there):
    """Whether the table has an arrow between two rooms; ``core`` stands for all of its rooms."""
    names = TABLE[here].split()
    return there in names or (there.startswith('core/') and 'core' in names)


def test_rooms_import_what_the_table_says():
    wrong = [f'{p.relative_to(ROOT)}: {m}' for h, t, p, m in arrows() if not allowed(h, t)]
    assert not wrong, '\n'.join(wrong)


def test_the_table_names_every_room():
    rooms = {room_of('.'.join(['mmcompress', *p.relative_to(ROOT).with_suffix('').parts]))
             for p in ROOT.rglob('*.py') if '.mim' not in p.parts}  # fmt: skip
    assert rooms == set(TABLE)


def test_the_table_has_no_circles():
    """Nobody reaches itself along the arrows of the code."""
    graph = {}
    for here, there, _, _ in arrows():
        graph.setdefault(here, set()).add(there)
    for start in graph:
        reached, todo = set(), list(graph[start])
        while todo:
            room = todo.pop()
            if room not in reached:
                reached.add(room)
                todo += graph.get(room, ())
        assert start not in reached, f'{start} imports itself by way of others'


def test_no_circles_between_files():
    graph = {}
    for path in ROOT.rglob('*.py'):
        if '.mim' not in path.parts and path.name != '__init__.py':
            name = '.'.join(['mmcompress', *path.relative_to(ROOT).with_suffix('').parts])
            graph[name] = {module for module in modules(path) if module != name}
    for start in graph:
        reached, todo = set(), list(graph[start])
        while todo:
            module = todo.pop()
            if module not in reached:
                reached.add(module)
                todo += graph.get(module, ())
        assert start not in reached, f'{start} imports itself by way of others'


@pytest.mark.parametrize('method', METHODS)
def test_nothing_outside_of_methods_names_a_method(method):
    names = {
        kind.__name__
        for kind in MODELS.module_dict.values()
        if inside(kind.__module__, f'mmcompress.methods.{method}')
    }
    for path in sources('.'):
        # compat/mmrazor translates the names of MMRazor's classes into those of ours.
        if {'.mim', 'methods', 'mmrazor'} & set(path.relative_to(ROOT).parts):
            continue
        words = set(re.findall(r'\w+', path.read_text()))
        assert not words & names, f'{path} names {words & names}'


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
