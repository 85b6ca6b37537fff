"""benchmarks/fifty_steps.py: the differences that the tests of methods bound, as a table."""

import json

import pytest


@pytest.fixture
def study(tool, monkeypatch, capsys):
    """Run the study, on the cases of the tests, with differences that are known."""
    module = tool.module('fifty_steps')
    frame, asked = module.frame(), []

    def gaps(method, case, options):
        asked.append((method, case, options))
        return [n * 1.2e-3 for n in range(1, 51)], {}

    frame.gaps = gaps
    monkeypatch.setattr(module, 'frame', lambda: frame)

    def run(*arguments):
        asked.clear()
        monkeypatch.setattr('sys.argv', ['fifty_steps.py', *map(str, arguments)])
        module.main()
        return capsys.readouterr().out.splitlines(), asked, list(frame.everything())

    return run


def test_table(study, tmp_path):
    file = tmp_path / 'steps.json'
    lines, asked, everything = study('--json', file)
    assert asked == [(method, case, options) for method, case, _, options in everything]
    assert len(lines) == 2 + len(asked)
    assert lines[2].endswith('| 1e-03 | 1e-02 | 3e-02 | 6e-02 | 6e-02 |')
    rows = json.loads(file.read_text())
    assert [row['departure'] for row in rows] == [departure for _, _, departure, _ in everything]
    assert all(len(row['differences']) == 50 for row in rows)


def test_some_methods(study):
    _, asked, _ = study('fcf', 'dcff')
    assert {method for method, _, _ in asked} == {'fcf', 'dcff'}
    with pytest.raises(SystemExit, match="'vgg' is no method"):
        study('vgg')
