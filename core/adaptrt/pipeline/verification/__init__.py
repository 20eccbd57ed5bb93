"""Compare a converted model with the reference: choice of samples and batches, and which samples count."""
