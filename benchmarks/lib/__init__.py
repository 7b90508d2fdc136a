"""What benchmarks share: surveys to measure on, plain loops to compare with, ceilings, origin."""
