"""The flows, one family a file: formulas above, flows below."""
