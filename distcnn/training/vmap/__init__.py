"""Several members trained in one pass on one device: a vmapped ensemble of stacked parameters."""
