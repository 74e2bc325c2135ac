"""Networks small enough to read, and pretrained backbones."""
