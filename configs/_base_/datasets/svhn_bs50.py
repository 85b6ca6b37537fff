# Street View House Numbers, 32 x 32, as in LinearConv (Kahatapitiya & Rodrigo, WACV 2021).
#
# Needs a local folder: data/svhn with train_32x32.mat and test_32x32.mat of
# http://ufldl.stanford.edu/housenumbers/.
data_preprocessor = dict(
    type='ClsDataPreprocessor',
    num_classes=10,
    mean=[111.6135, 113.169, 120.564],
    std=[30.6255, 31.3905, 26.826],
    # Images are RGB already.
    to_rgb=False,
)

train_pipeline = [
    # No flips: a mirrored digit is another sign.
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=50,
    num_workers=2,
    dataset=dict(
        type='mmcompress.SVHN', data_root='data/svhn', split='train', pipeline=train_pipeline
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=2,
    dataset=dict(
        type='mmcompress.SVHN',
        data_root='data/svhn',
        split='test',
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
