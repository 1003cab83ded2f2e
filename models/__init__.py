"""Encoders of spatiotemporal fields: recurrent layers, the autoencoder around them, and its training.

Depends on torch (and on lightning in `models.training` alone). Knows nothing of files, xarray or climate:
fields come in as tensors `(B, T, C, H, W)`, batch, time, variable, latitude, longitude.
"""
