"""engine/launch.py: configs that are named wrongly (tests/integration runs the tools)."""

import pytest

from mmcompress.cli.launch import read_config
from mmcompress.core import CompressionError


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        (
            'mmpretrain::resnet/resnet55_8xb32_in1k.py',
            "mmpretrain has no 'resnet/resnet55_8xb32_in1k.py'; .* 'resnet/resnet50_8xb32_in1k.py'",
        ),
        ('mmpretrain::resnet50_8xb32_in1k.py', "'resnet/resnet50_8xb32_in1k.py'"),
        ('mmdt::a/b.py', "'mmdt::a/b.py' has to be .* a library such as 'mmdet'"),
        ('mmdet::', r"'mmdet::' has to be the path of a file, or lib::path/of/config.py"),
        ('mmyolo::a.py', r'mmyolo is needed .* `pip install mmyolo`'),
        ('nowhere.py', "there is no file 'nowhere.py'"),
    ],
)
def test_a_config_that_is_not_there(path, message):
    with pytest.raises(CompressionError, match=message):
        read_config(path)


def test_a_config_of_a_library():
    assert read_config('mmpretrain::resnet/resnet50_8xb32_in1k.py').model.backbone.depth == 50
