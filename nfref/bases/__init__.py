"""Base densities other than the standard normal: one idea a file."""
