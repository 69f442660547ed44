"""What a run needs, by calculation: no model is built and no device asked. Differs from a measurement in that."""
