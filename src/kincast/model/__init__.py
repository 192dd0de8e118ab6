"""Model: encoders, message passing and heads as plain modules."""
