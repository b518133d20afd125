"""The flows to sixty digits, written from their papers; golden vectors and precision tables."""
