"""Comparing a later form of the model with the reference: on which samples, in which batches, and when a sample decides."""
