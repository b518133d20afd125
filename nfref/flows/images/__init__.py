"""Flows on images, raveled to rows (N, C * H * W), and the layers that they are made of."""
