# Photographs that scikit-image ships, for x2: nothing to download. 227 crops of eight of them to
# train on, three others, whole, to validate and test on.
train_pipeline = [
    # 48 x 48 pixels in.
    dict(type='mmcompress.PairedRandomCrop', patch=96),
    dict(type='mmcompress.PairedFlipRotate'),
    dict(type='mmcompress.PackSRInputs'),
]
test_pipeline = [dict(type='mmcompress.PackSRInputs')]

# The images are in memory; a worker process would cost more than it saves.
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='mmcompress.Photos',
        split='train',
        scale=2,
        # Overlapping, and with room for patches to move.
        crop=128,
        step=96,
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    # Images of different sizes make no batch.
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='mmcompress.Photos', split='test', scale=2, pipeline=test_pipeline, test_mode=True
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = [
    dict(type='mmcompress.PSNR', border=2),
    dict(type='mmcompress.SSIM', border=2),
]

test_dataloader = val_dataloader
test_evaluator = val_evaluator
