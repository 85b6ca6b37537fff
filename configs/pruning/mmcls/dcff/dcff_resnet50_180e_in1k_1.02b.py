# DCFF on ResNet-50, ImageNet, 180 epochs with a cosine. Published: 1.02B MACs,
# 6.56M parameters, 73.81 %.
_base_ = ['dcff_resnet50_180e_in1k_1.52b.py']

model = dict(
    target_pruning_ratio=dict(
        _delete_=True,
        **{
            'backbone.layer[12].*.conv[12]_*': 0.57,
            'backbone.layer[34].*.conv[12]_*': 0.27,
            'backbone.layer[1-3].0.conv3_*': 0.55,
        },
    ),
)
