# Filter basis on the EDSR of the demo. Starts from dense_edsr_x2_photos.py; half of its learning
# rate and epochs.
_base_ = ['dense_edsr_x2_photos.py', '../_base_/methods/filter_basis_sr.py']

model = dict(_delete_=True, architecture=_base_.model, **_base_.compression)

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = dict(T_max=40)
train_cfg = dict(max_epochs=40)
