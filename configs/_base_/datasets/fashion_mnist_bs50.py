# Fashion-MNIST as 32 x 32 images of one channel, with flips, as in LinearConv (Kahatapitiya &
# Rodrigo, WACV 2021).
#
# Needs a local folder, unless mmpretrain's download answers: data/fashion_mnist with the four files
# of mnist_bs50.py.
_base_ = ['mnist_bs50.py']

data_preprocessor = dict(mean=[72.93], std=[81.7275])

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]

_data = dict(type='FashionMNIST', data_root='data/fashion_mnist')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_data))
val_dataloader = dict(dataset=_data)
test_dataloader = dict(dataset=_data)
