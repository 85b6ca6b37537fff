"""benchmarks/departures.py: what is trained, once, and what the table says of it."""

import json

import departures
import pytest
from mmengine.registry import MODELS


@pytest.fixture
def study(monkeypatch, tmp_path):
    """Run the study with trainings that only note their configs."""
    seen = []

    def train(cfg, folder, start):
        seen.append((cfg, start))
        seed = cfg.randomness.seed
        found = dict(accuracy=90.0 + 2 * seed + len(seen) % 2, parameters=1000 + seed)
        if start:
            found['accuracy before'] = 50.0 + seed
        return dict(found, checkpoint=f'{folder.name}.pth')

    monkeypatch.setattr(departures, 'train', train)

    def run(*arguments):
        seen.clear()
        line = ['departures.py', *arguments, '--json', str(tmp_path / 'all.json')]
        monkeypatch.setattr('sys.argv', line)
        departures.main()
        return seen

    run.file = tmp_path / 'all.json'
    return run


def test_alike_is_trained_once(study, capsys):
    seen = study('fcf', '--size', '8', '--seeds', '0', '1')
    # Of each seed: the dense network, four first stages and five last ones.
    assert len(seen) == 2 * (1 + 4 + 5)
    starts = [start for _, start in seen]
    assert starts.count(None) == 2
    models = [cfg.model for cfg, _ in seen]
    both = [m for m in models if m.get('faithful') and m.get('stage') == 'finetune']
    assert [m.get('rounding') for m in both[:2]] == ['exact', None]
    cfg = seen[0][0]
    crop = cfg.train_dataloader.dataset.pipeline[0]
    assert (cfg.val_dataloader.dataset.img_size, crop.crop_size, crop.padding) == (8, 8, 1)
    first = capsys.readouterr().out
    assert '| `ours` |' in first
    assert '| 50.00, 51.00 | 1,000 to 1,001 |' in first
    assert len(json.loads(study.file.read_text())) == 20
    # Once more: nothing is left to train, but another seed is, and another size.
    assert not study('fcf', '--size', '8', '--seeds', '0', '1')
    assert capsys.readouterr().out == first
    assert len(study('fcf', '--size', '8', '--seeds', '2')) == 10


def test_every_way_is_another_model_that_can_be_built(study):
    """Options that a config doesn't take are seen here, and not an hour later."""
    for name, found in departures.STUDIES.items():
        seen = [cfg.model for cfg, _ in study(name, '--seeds', '0')]
        compressing = [model for model in seen if 'architecture' in model]
        assert len({str(model) for model in compressing}) == len(compressing) >= len(found.ways)
        for model in compressing:
            model.architecture.backbone.depth = 14
            MODELS.build(model)


def test_intervals():
    """Student's t for two degrees of freedom is 4.303."""
    assert departures.half_width([1, 2, 3]) == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert departures.half_width([5]) == 0


def test_unknown(study, capsys):
    with pytest.raises(SystemExit):
        study('fff')
    assert "'fff' is no study" in capsys.readouterr().err
