"""From a source to tensors; knows nothing of models, of where artifacts lie, or of the order of stages."""
