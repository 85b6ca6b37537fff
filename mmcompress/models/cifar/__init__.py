"""Networks of the papers that OpenMMLab lacks, mostly for CIFAR."""
