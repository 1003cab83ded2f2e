"""Mutation testing of the statistics, the losses and the normalisation: see docs/testing.md."""
