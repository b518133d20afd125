"""Monotone maps of one coordinate, whose parameters a conditioner network gives."""
