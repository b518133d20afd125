"""Flows on images, raveled to rows (N, C * H * W), and their layers."""
