"""Where images come from: built-in scenes, folders, CIFAR files."""
