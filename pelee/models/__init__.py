"""Networks: backbones and classifiers, their registry, pretrained weights, parameter counts."""
