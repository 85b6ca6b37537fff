"""model-index.yml and metafiles: what `mim search mmcompress` shows."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / 'model-index.yml'
METAFILES = [ROOT / name for name in yaml.safe_load(INDEX.read_text())['Import']]


def models(file):
    return yaml.safe_load(file.read_text())['Models']


def test_all_metafiles_are_imported():
    assert sorted(METAFILES) == sorted((ROOT / 'configs').rglob('metafile.yml'))


def test_every_recipe_is_named_once():
    configs = [model['Config'] for file in METAFILES for model in models(file)]
    recipes = sorted((ROOT / 'configs/pruning').rglob('*.py'))
    assert sorted(configs) == sorted(str(file.relative_to(ROOT)) for file in recipes)


@pytest.mark.parametrize('file', METAFILES, ids=lambda file: file.parent.name)
def test_what_a_metafile_says(file):
    [collection] = yaml.safe_load(file.read_text())['Collections']
    assert (ROOT / collection['README']).parent == file.parent
    assert set(collection['Paper']) == {'Title', 'URL'}
    for model in models(file):
        assert model['In Collection'] == collection['Name']
        assert model['Name'] == Path(model['Config']).stem
        assert Path(model['Config']).parent.name == file.parent.name
        # No accuracy has been measured, so none is given as ours; weights are not published.
        assert not {'Weights'} & set(model)
        assert all('Metrics' not in result for result in model['Results'])
        published = model['Metadata'].get('Published', 'not reproduced here')
        assert published.endswith('not reproduced here')
        for key in ('FLOPs', 'Parameters'):
            assert model['Metadata'].get(key, 1) > 0


def test_published_figures_are_those_of_the_configs():
    """Which say them in their comments."""
    for file in METAFILES:
        for model in models(file):
            comment = re.match('(?:#.*\n)*', (ROOT / model['Config']).read_text())[0]
            text = ' '.join(line[1:].strip() for line in comment.splitlines())
            published = model['Metadata'].get('Published')
            assert ('Published:' in text) == (published is not None), model['Name']
            if published:
                assert f'Published: {published.rpartition(";")[0]}' in text


def test_openmim_finds_recipes(monkeypatch):
    search = pytest.importorskip('mim.commands.search')
    from modelindex.load_model_index import load

    monkeypatch.setattr(search, 'load_metadata_from_local', lambda package: load(str(INDEX)))
    found = search.get_model_info('mmcompress', training_datasets=['CIFAR-100'])
    assert 'shared_basis_s8u1_resnet34_300e_cifar100' in found.index
    assert all(name.endswith('_cifar100') for name in found.index)
    [row] = search.get_model_info('mmcompress', configs=['dcff_vgg16_300e_cifar10']).to_dict(
        'records'
    )
    assert row['parameters'] == 1071248
    assert row['model'] == 'dcff'
    assert row['config'] == 'configs/pruning/mmcls/dcff/dcff_vgg16_300e_cifar10.py'
