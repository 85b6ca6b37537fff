"""README.md and docs/: commands parse, paths and links are there, the Python quick start runs."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import torch

from mmcompress import cli

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / 'README.md'
PAGES = [README, *sorted((ROOT / 'docs').rglob('*.md'))]


def shell_lines(path):
    """Commands of a page: lines of indented code, with continuations joined."""
    text = path.read_text(encoding='utf-8').replace('\\\n', ' ')
    return [line.strip() for line in text.splitlines() if re.match(r' {4}\S', line)]


def python_blocks(path):
    return re.findall(r'```python\n(.*?)```', path.read_text(encoding='utf-8'), re.DOTALL)


def commands(path, program):
    split = (shlex.split(line, comments=True) for line in shell_lines(path))
    return [words[1:] for words in split if words and words[0] == program]


def parse(words):
    """The arguments of a command, by the parser of its verb."""
    module, words = cli, list(words)
    while hasattr(module, 'VERBS'):
        name = words.pop(0)
        assert name in module.VERBS
        module = import_module(f'{module.__name__}.{name}')
    return cli.parse(module, words, 'mmcompress')


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.name)
def test_commands_parse(path):
    found = commands(path, 'mmcompress')
    for words in found:
        parse(words)
    assert found or path.name not in ('README.md', 'fcf.md', 'basis.md', 'widths.md')


def test_a_wrong_command_would_be_seen(capsys):
    with pytest.raises(SystemExit):
        parse(['flops', 'CONFIG', '--shpae', '3'])
    assert '--shpae' in capsys.readouterr().err


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.name)
def test_named_paths_exist(path):
    """Files of the repository, where a name is neither a pattern nor one the reader makes."""
    text = path.read_text(encoding='utf-8')
    pattern = r'(?<![\w/.])((?:configs|tests|benchmarks|mmcompress|tools)/[\w./\-]+\.(?:py|md|sh))'
    names = re.findall(pattern, text)
    missing = [n for n in names if not re.search('[A-Z]{3}', n) and not (ROOT / n).is_file()]
    assert not missing


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    links = re.findall(r'\]\(([^)#]+)', path.read_text(encoding='utf-8'))
    local = [link for link in links if '://' not in link]
    assert not [link for link in local if not (path.parent / link).is_file()]


def test_method_files_that_commands_name():
    methods = {file.stem for file in (ROOT / 'configs/_base_/methods').glob('*.py')}
    named = set()
    for path in PAGES:
        named |= {
            parse(words).compress for words in commands(path, 'mmcompress') if '--compress' in words
        }
    named = {name for name in named if not name.endswith('.py') and name != 'METHOD'}
    assert named
    assert named <= methods


def test_targets_of_make():
    targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(encoding='utf-8'), re.M)
    named = [words[0] for words in commands(README, 'make')]
    assert 'demo' in named
    assert set(named) <= set(targets)


def test_extras_of_pip():
    named = re.findall(r'\[([a-z,]+)\]\'', README.read_text(encoding='utf-8'))
    assert named
    for name in {part for group in named for part in group.split(',')}:
        assert (ROOT / 'requirements' / f'{name}.txt').is_file()


def test_every_verb_is_named():
    (named,) = re.findall(r'`mmcompress ([\w|]+)`', README.read_text(encoding='utf-8'))
    assert set(named.split('|')) == set(cli.VERBS)


def test_python_quick_start(tmp_path, monkeypatch):
    (block,) = python_blocks(README)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, str(README), 'exec'), names)
    with torch.no_grad():
        images, static = names['images'], names['static']
        assert torch.equal(names['again'].eval()(images), static(images))
    sizes = [sum(p.numel() for p in names[key].parameters()) for key in ('static', 'dense')]
    assert sizes[0] < 0.4 * sizes[1]


def test_python_with_the_runner(tmp_path, monkeypatch):
    page = ROOT / 'docs' / 'your_model.md'
    (block,) = [block for block in python_blocks(page) if 'Runner' in block]
    block = block.replace('work_dirs/python', str(tmp_path))
    monkeypatch.chdir(ROOT)
    names = {}
    exec(compile(block, str(page), 'exec'), names)
    assert {'compact.pth', 'compact.py', 'fix_subnet.json'} <= {
        path.name for path in (tmp_path / 'export').iterdir()
    }
    dense = sum(weight.numel() for weight in names['algorithm'].architecture.state_dict().values())
    kept = sum(weight.numel() for weight in names['weights'].values())
    assert all(torch.is_tensor(weight) for weight in names['weights'].values())
    assert 0 < kept < dense / 2


def test_readme_is_short():
    assert len(README.read_text(encoding='utf-8').splitlines()) <= 120
