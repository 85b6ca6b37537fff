# DCFF for any network: half of the channels of every unit. Lin et al., arXiv:2107.06916.
# Pruning rates as the authors' program takes them, one for each unit: --cfg-options
# model.target_pruning_ratio._delete_=True model.target_pruning_ratio.pruning_rates=[0.5]*7+[0.2]*6
compression = dict(type='mmcompress.DCFF', target_pruning_ratio=0.5, fuse_interval=1)
