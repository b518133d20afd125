"""Continuous flows on blocks of rows: dynamics, Runge-Kutta steps, whole solves."""
