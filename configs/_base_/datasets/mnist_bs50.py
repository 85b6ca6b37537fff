# MNIST as 32 x 32 images of one channel, as in LinearConv (Kahatapitiya & Rodrigo, WACV 2021).
#
# Needs a local folder, unless mmpretrain's download answers (from yann.lecun.com, the first time):
# data/mnist with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
# t10k-labels-idx1-ubyte, unpacked, all four of them.
data_preprocessor = dict(
    type='ClsDataPreprocessor',
    num_classes=10,
    mean=[33.3285],
    std=[76.8825],
    to_rgb=False,
)

train_pipeline = [
    # 28 + 2 * 2 pixels are cropped to 32: this pads, and there is nothing random about it.
    dict(type='RandomCrop', crop_size=32, padding=2),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=2),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=50,
    num_workers=2,
    dataset=dict(type='MNIST', data_root='data/mnist', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=2,
    # mmpretrain chooses the files by `test_mode`, not by `split`.
    dataset=dict(
        type='MNIST',
        data_root='data/mnist',
        split='test',
        pipeline=test_pipeline,
        test_mode=True,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
