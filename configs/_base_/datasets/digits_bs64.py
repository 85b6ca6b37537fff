# Handwritten digits that scikit-learn ships, as 32 x 32 images: nothing to download.
data_preprocessor = dict(
    type='ClsDataPreprocessor',
    num_classes=10,
    # Mean and standard deviation over all pixels of the train split
    # (`draw(load_glyphs('train')[0], 32)`); the three channels are equal.
    mean=[79.711, 79.711, 79.711],
    std=[90.883, 90.883, 90.883],
    to_rgb=False,
)

train_pipeline = [
    # No flips: a mirrored digit is another sign.
    dict(type='RandomCrop', crop_size=32, padding=3),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

# The images are in memory and small; a worker process would cost more than it saves.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type='mmcompress.DigitsClassification', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=200,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='mmcompress.DigitsClassification',
        split='test',
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
