"""How dates are written on pages."""
