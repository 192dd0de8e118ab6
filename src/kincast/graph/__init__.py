"""Graph: tables to a versioned temporal snapshot; keys to rows and back."""
