"""How the small embedded network tiny_resnet was trained."""
