"""The properties that are checked, and the checks that put them together."""
