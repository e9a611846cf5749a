"""What a candidate costs: counts in closed form, their audit, the clock."""
