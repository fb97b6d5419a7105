"""Other people's programs on this package; what each needs is imported where it is used."""
