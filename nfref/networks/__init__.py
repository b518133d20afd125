"""The networks that feed the flows: plain, masked, and convolutional."""
