"""What the checks measure with: calls, probe points, numerical derivatives, kinks."""
