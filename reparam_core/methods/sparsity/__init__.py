"""Methods of the sparsity axis."""
