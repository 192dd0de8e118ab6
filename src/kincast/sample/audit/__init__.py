"""Audit: one plain function per class of leak, over anybody's tables, labels and batches."""
