"""What a worker does with a region: the package of its process, and rows through the network."""
