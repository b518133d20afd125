"""Vector registers: tiles of matrix products, elementary functions, many small matrices at once."""
