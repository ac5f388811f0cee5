"""Files made to harm whoever opens them, given to the verbs as a user would give them."""
