"""Batch jobs: a model over any number of images, resumable, with results in parts."""
