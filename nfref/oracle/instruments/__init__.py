"""Tools of the checks: calls, probe points, numerical derivatives, kinks."""
