"""Compute the masks of texts with models of transformers: CLIPSeg, or a detector with SAM."""
