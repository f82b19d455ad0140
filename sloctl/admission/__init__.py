"""Who is let in: priority classes, admitted shares, the circuit breaker, and the gate that joins them. Pure."""
