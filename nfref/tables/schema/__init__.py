"""What the columns of a table hold: their kinds, dataframes, rounding."""
