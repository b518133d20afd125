"""The flows, one file for each family: formulas above, flows below."""
