"""Several members trained in one pass on one device, their weights stacked."""
