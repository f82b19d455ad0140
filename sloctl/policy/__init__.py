"""Policies: typed expressions over facts, rules with hysteresis, a precision ladder, and one arbiter. Pure."""
